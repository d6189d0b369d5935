// Runs a WebAssembly program of the WASI kind: node wasi.mjs FILE [ARGUMENT]...
// It offers standard output and error, arguments, the ATOMDL_ and OMP_
// variables, a clock that stands still and an exit status; no files.

import { readFileSync, writeSync } from "node:fs";

const EBADF = 8;
const ENOSYS = 52;

class Exit extends Error {
    constructor(status) {
        super(`exit ${status}`);
        this.status = status;
    }
}

const program = process.argv.slice(2);
const environment = Object.entries(process.env)
    .filter(([name]) => /^(ATOMDL|OMP)_/.test(name))
    .map(([name, value]) => `${name}=${value}`);

let memory;
const view = () => new DataView(memory.buffer);

// The two calls by which a program fetches a list of strings.
function stringList(list) {
    const encoded = list.map((text) => Buffer.from(`${text}\0`));
    const total = encoded.reduce((sum, text) => sum + text.length, 0);
    return {
        sizes(count, bytes) {
            view().setUint32(count, encoded.length, true);
            view().setUint32(bytes, total, true);
            return 0;
        },
        get(pointers, at) {
            for (const text of encoded) {
                view().setUint32(pointers, at, true);
                new Uint8Array(memory.buffer).set(text, at);
                pointers += 4;
                at += text.length;
            }
            return 0;
        },
    };
}

// A pipe may take less than it is offered.
function writeAll(fd, bytes) {
    while (bytes.length > 0)
        bytes = bytes.subarray(writeSync(fd, bytes));
}

function fd_write(fd, vectors, count, written) {
    if (fd !== 1 && fd !== 2)
        return EBADF;
    let total = 0;
    for (let i = 0; i < count; i++) {
        const at = view().getUint32(vectors + 8 * i, true);
        const size = view().getUint32(vectors + 8 * i + 4, true);
        writeAll(fd, new Uint8Array(memory.buffer, at, size));
        total += size;
    }
    view().setUint32(written, total, true);
    return 0;
}

// Standard output is a character device: file type 2, all rights.
function fd_fdstat_get(fd, at) {
    if (fd > 2)
        return EBADF;
    new Uint8Array(memory.buffer).fill(0, at, at + 24);
    view().setUint8(at, 2);
    view().setBigUint64(at + 8, ~0n, true);
    return 0;
}

function clock_time_get(id, precision, at) {
    view().setBigUint64(at, 0n, true);
    return 0;
}

function proc_exit(status) {
    throw new Exit(status);
}

const args = stringList(program);
const env = stringList(environment);
const calls = {
    args_sizes_get: args.sizes,
    args_get: args.get,
    environ_sizes_get: env.sizes,
    environ_get: env.get,
    fd_write,
    fd_fdstat_get,
    clock_time_get,
    proc_exit,
};

// Whatever else the program imports answers "not supported".
function importsOf(module) {
    const table = {};
    for (const { name } of WebAssembly.Module.imports(module))
        table[name] = calls[name] ?? (() => ENOSYS);
    return { wasi_snapshot_preview1: table };
}

const module = new WebAssembly.Module(readFileSync(program[0]));
const instance = new WebAssembly.Instance(module, importsOf(module));
memory = instance.exports.memory;
try {
    instance.exports._start();
} catch (stop) {
    if (!(stop instanceof Exit))
        throw stop;
    process.exitCode = stop.status;
}
