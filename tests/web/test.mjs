// Drives the page in headless Chromium as a person would, and compares what it
// finds with what ./atomdl finds: node tests/web/test.mjs [SCREENSHOT.png]

import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const folder = mkdtempSync(join(tmpdir(), "atomdl-web-"));
const browser = spawn("chromium", ["--headless=new", "--no-sandbox",
    "--disable-gpu", "--window-size=1100,1650", `--user-data-dir=${folder}/user`,
    "--remote-debugging-pipe", "about:blank"],
    {stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"]});
const limit = setTimeout(() => stop("no answer in 280 s"), 280e3);

// Messages end in a zero byte.
const waiting = new Map();
let heard = "", number = 0, session;
browser.stdio[4].on("data", (data) => {
    heard += data;
    const parts = heard.split("\0");
    heard = parts.pop();
    for (const part of parts) {
        const message = JSON.parse(part);
        waiting.get(message.id)?.(message);
    }
});

function call(method, params = {}) {
    const id = ++number;
    const line = JSON.stringify({id, method, params, sessionId: session});
    browser.stdio[3].write(`${line}\0`);
    return new Promise((done, fail) => waiting.set(id, (m) =>
        (m.error ? fail(new Error(`${method}: ${m.error.message}`))
                 : done(m.result))));
}

async function value(expression) {
    const r = await call("Runtime.evaluate", {expression, awaitPromise: true,
                                              returnByValue: true});
    if (r.exceptionDetails)
        throw new Error(r.exceptionDetails.exception?.description
                        ?? r.exceptionDetails.text);
    return r.result.value;
}

function stop(why) {
    clearTimeout(limit);
    browser.kill();
    browser.on("exit", () => rmSync(folder, {recursive: true, force: true,
                                             maxRetries: 5}));
    if (why)
        console.log(`FAIL ${why}`);
    process.exitCode = why ? 1 : 0;
}

function equal(what, got, want) {
    if (got !== want)
        throw new Error(`${what}: ${String(got).slice(0, 300)}`);
    console.log(`ok   ${what}`);
}

const native = (...args) => execFileSync(resolve("atomdl"), args,
    {cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"]});
const digest = (text) => /^digest.*$/m.exec(text)?.[0];

try {
    const {targetInfos} = await call("Target.getTargets");
    const page = targetInfos.find((t) => t.type === "page").targetId;
    session = (await call("Target.attachToTarget",
                          {targetId: page, flatten: true})).sessionId;
    await call("Page.enable");
    await call("Page.navigate",
               {url: `file://${resolve("build/web/atomdl.html")}`});
    while (await value("typeof analyze") !== "function")
        await new Promise((done) => setTimeout(done, 100));

    await value("verify()");
    equal("verify: the native digest",
          digest(await value("$('verify-text').textContent")),
          digest(native("verify")));

    await value("simulate()");
    native("simulate", "--material", "graphene", "--size", "256",
           "--pixel-size", "0.12", "--dose", "1000000", "--seed", "1",
           "--defects", "si-c3,si-c4,v1", "-o", "image");
    equal("simulate: the native image",
          await value("btoa(String.fromCharCode(...state.bytes))"),
          readFileSync(join(folder, "image.png")).toString("base64"));

    await value("analyze()");
    native("analyze", "image.png", "-o", "out", "--pixel-size", "0.12");
    const atoms = readFileSync(join(folder, "out/image.atoms.csv"), "utf8");
    equal("analyze: the native atoms", await value("state.atoms"), atoms);
    const shot = await call("Page.captureScreenshot", {format: "png"});
    if (process.argv[2])
        writeFileSync(process.argv[2], Buffer.from(shot.data, "base64"));

    // a file given to the page instead
    const {root} = await call("DOM.getDocument");
    const {nodeId} = await call("DOM.querySelector",
                                {nodeId: root.nodeId, selector: "#file"});
    await call("DOM.setFileInputFiles",
               {nodeId, files: [join(folder, "image.png")]});
    while (await value("$('found').textContent") !== "image.png")
        await new Promise((done) => setTimeout(done, 100));
    await value("state.atoms = null, analyze()");
    equal("a file: the native atoms", await value("state.atoms"), atoms);

    await value("train()");
    writeFileSync(join(folder, "own.recipe"),
                  await value("$('recipe').value"));
    native("train", "own.recipe", "--quiet", "--threads", "1");
    equal("train: the native weights",
          await value("btoa(String.fromCharCode(...state.weights))"),
          readFileSync(join(folder, "own.safetensors")).toString("base64"));
    await value("analyze()");
    equal("analyze with them", await value("state.atoms.length > 1000"), true);
    const last = await call("Page.captureScreenshot", {format: "png"});
    if (process.argv[2])
        writeFileSync(process.argv[2].replace(/\.png$/, "-trained.png"),
                      Buffer.from(last.data, "base64"));
    stop();
} catch (error) {
    stop(error.message);
}
