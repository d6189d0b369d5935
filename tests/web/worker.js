// Runs the program, whole, in a worker of the page: `atomdl ARGUMENTS` with a
// few files in memory. It gets {module, args, files: {name: Uint8Array}} and
// posts {text} while the program writes, then {status, files}.
"use strict";

const OK = 0, EBADF = 8, EEXIST = 20, EINVAL = 28, ENOENT = 44, ENOSYS = 52;
const FILE = 4, DIRECTORY = 3, DEVICE = 2;
const ROOT = 3; // the descriptor of the one folder there is

class Exit extends Error {
    constructor(status) {
        super(`exit ${status}`);
        this.status = status;
    }
}

// The calls of WASI that the program makes, over a table of files by path.
function system(args, files, folders, say) {
    const open = new Map(); // descriptor -> {path, at, write}
    let memory = null, next = ROOT + 1;
    const view = () => new DataView(memory.buffer);
    const bytes = (at, n) => new Uint8Array(memory.buffer, at, n);
    const decode = new TextDecoder();
    const name = (at, n) => decode.decode(bytes(at, n).slice())
        .replace(/\/+$/, "").replace(/^(\.?\/)+/, "").replace(/^\.$/, "");

    // Arguments: pointers to strings, then the strings.
    const strings = args.map((a) => new TextEncoder().encode(`${a}\0`));

    function each(list, count, what) {
        let total = 0;
        for (let i = 0; i < count; i++) {
            const at = view().getUint32(list + 8 * i, true);
            const n = view().getUint32(list + 8 * i + 4, true);
            const done = what(bytes(at, n));
            total += done;
            if (done < n)
                break;
        }
        return total;
    }

    function append(file, data) {
        const old = files.get(file.path);
        const need = file.at + data.length;
        if (need > file.data.length) {
            const grown = new Uint8Array(Math.max(need, 2 * old.length, 4096));
            grown.set(file.data);
            file.data = grown;
        }
        file.data.set(data, file.at);
        file.at = need;
        file.size = Math.max(file.size, need);
        files.set(file.path, file.data.subarray(0, file.size));
        return data.length;
    }

    function stat(at, type, size) {
        bytes(at, 64).fill(0);
        view().setUint8(at + 16, type);
        view().setBigUint64(at + 24, 1n, true);
        view().setBigUint64(at + 32, BigInt(size), true);
        return OK;
    }

    const calls = {
        args_sizes_get(count, size) {
            view().setUint32(count, strings.length, true);
            view().setUint32(size, strings.reduce((n, s) => n + s.length, 0),
                             true);
            return OK;
        },
        args_get(pointers, at) {
            for (const s of strings) {
                view().setUint32(pointers, at, true);
                bytes(at, s.length).set(s);
                pointers += 4;
                at += s.length;
            }
            return OK;
        },
        environ_sizes_get(count, size) {
            view().setUint32(count, 0, true);
            view().setUint32(size, 0, true);
            return OK;
        },
        environ_get: () => OK,
        clock_time_get(id, precision, at) {
            const ns = BigInt(Math.floor(performance.now() * 1e6));
            view().setBigUint64(at, ns, true);
            return OK;
        },
        fd_prestat_get(fd, at) {
            if (fd !== ROOT)
                return EBADF;
            view().setUint8(at, 0);
            view().setUint32(at + 4, 1, true);
            return OK;
        },
        fd_prestat_dir_name(fd, at) {
            bytes(at, 1)[0] = 0x2e; // "."
            return OK;
        },
        fd_fdstat_get(fd, at) {
            if (fd > ROOT && !open.has(fd))
                return EBADF;
            bytes(at, 24).fill(0);
            view().setUint8(at, fd < ROOT ? DEVICE
                : fd === ROOT || open.get(fd).folder ? DIRECTORY : FILE);
            view().setBigUint64(at + 8, ~0n, true);
            view().setBigUint64(at + 16, ~0n, true);
            return OK;
        },
        fd_fdstat_set_flags: () => OK,
        fd_close: (fd) => (open.delete(fd) ? OK : EBADF),
        fd_read(fd, list, count, done) {
            const file = open.get(fd);
            if (!file || file.folder)
                return EBADF;
            view().setUint32(done, each(list, count, (to) => {
                const n = Math.min(to.length, file.size - file.at);
                to.set(file.data.subarray(file.at, file.at + n));
                file.at += n;
                return n;
            }), true);
            return OK;
        },
        fd_write(fd, list, count, done) {
            const file = open.get(fd);
            if (fd > 2 && (!file || file.folder))
                return EBADF;
            view().setUint32(done, each(list, count, (from) => {
                if (file)
                    return append(file, from);
                say(decode.decode(from.slice()));
                return from.length;
            }), true);
            return OK;
        },
        fd_seek(fd, offset, whence, at) {
            const file = open.get(fd);
            if (!file)
                return EBADF;
            const from = [0, file.at, file.size][whence];
            if (from + Number(offset) < 0)
                return EINVAL;
            file.at = from + Number(offset);
            view().setBigUint64(at, BigInt(file.at), true);
            return OK;
        },
        path_open(dir, flags, at, n, how, rights, inheriting, fdflags, fd) {
            const path = name(at, n), folder = folders.has(path);
            if (!folder && !files.has(path) && !(how & 1))
                return ENOENT;
            if (!folder && (how & 8 || !files.has(path)))
                files.set(path, new Uint8Array(0));
            const data = files.get(path);
            open.set(next, {path, folder, data, at: 0,
                            size: data ? data.length : 0});
            view().setUint32(fd, next++, true);
            return OK;
        },
        path_filestat_get(dir, flags, at, n, to) {
            const path = name(at, n);
            if (folders.has(path))
                return stat(to, DIRECTORY, 0);
            return files.has(path) ? stat(to, FILE, files.get(path).length)
                                   : ENOENT;
        },
        path_create_directory(dir, at, n) {
            const path = name(at, n);
            if (folders.has(path) || files.has(path))
                return EEXIST;
            folders.add(path);
            return OK;
        },
        path_rename(dir, at, n, to, newAt, newN) {
            const from = name(at, n);
            if (!files.has(from))
                return ENOENT;
            files.set(name(newAt, newN), files.get(from));
            files.delete(from);
            return OK;
        },
        path_unlink_file: (dir, at, n) =>
            (files.delete(name(at, n)) ? OK : ENOENT),
        proc_exit(status) {
            throw new Exit(status);
        },
    };
    return {calls, start(instance) { memory = instance.exports.memory; }};
}

function run(module, args, given, say) {
    const files = new Map(Object.entries(given));
    const {calls, start} = system(["atomdl", ...args], files, new Set([""]),
                                  say);
    const table = {};
    for (const {name} of WebAssembly.Module.imports(module))
        table[name] = calls[name] ?? (() => ENOSYS);
    const instance = new WebAssembly.Instance(module,
        {wasi_snapshot_preview1: table});
    let status = 0;
    start(instance);
    try {
        instance.exports._start();
    } catch (stop) {
        if (!(stop instanceof Exit)) {
            say(`${stop}\n`);
            status = 1;
        } else {
            status = stop.status;
        }
    }
    return {status, files: Object.fromEntries(files)};
}

onmessage = ({data}) => {
    const say = (text) => postMessage({text});
    postMessage(run(data.module, data.args, data.files, say));
};
