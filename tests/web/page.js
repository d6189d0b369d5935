// The page: buttons to command lines, files to pictures.
"use strict";

const $ = (id) => document.getElementById(id);
const state = {name: null, bytes: null, weights: null};
const encode = (text) => new TextEncoder().encode(text);
const decode = (bytes) => new TextDecoder().decode(bytes);

const packed = atob($("module").textContent.replace(/\s+/g, ""));
const module = WebAssembly.compile(Uint8Array.from(packed,
                                                   (c) => c.charCodeAt(0)));
const source = URL.createObjectURL(new Blob([$("worker").textContent],
                                            {type: "text/javascript"}));

// atomdl ARGUMENTS with these files; resolves to {status, files, text}.
async function atomdl(args, files, say) {
    const worker = new Worker(source);
    let text = "";
    $("messages").textContent = `atomdl ${args.join(" ")}\n`;
    document.body.classList.add("busy");
    try {
        const ready = await module;
        return await new Promise((done, fail) => {
            worker.onerror = (e) => fail(new Error(e.message));
            worker.onmessage = ({data}) => {
                if (data.files)
                    done({...data, text});
                text += data.text ?? "";
                (say ?? (() => {}))(text);
            };
            worker.postMessage({module: ready, args, files});
        });
    } finally {
        worker.terminate();
        document.body.classList.remove("busy");
    }
}

function show(image, bytes, type) {
    URL.revokeObjectURL(image.src);
    image.src = URL.createObjectURL(new Blob([bytes], {type}));
    image.hidden = !bytes;
}

function complain(result) {
    $("messages").textContent += result.text;
    return result.status !== 0;
}

async function verify() {
    const result = await atomdl(["verify"], {}, (text) => {
        $("verify-text").textContent = text;
    });
    $("verdict").textContent = result.status ? "other bits" : "the same bits";
    $("verdict").className = result.status ? "bad" : "good";
}

function take(name, bytes) {
    state.name = name;
    state.bytes = bytes;
    show($("image"), bytes, "image/png");
    $("image").hidden = !/\.png$/i.test(name);
    $("overlay").hidden = $("report").hidden = true;
    $("found").textContent = name;
    $("defects-found").textContent = "";
    $("analyze").disabled = false;
}

async function simulate() {
    const name = $("material").value;
    const sheet = /^(graphene|h-bn)$/.test(name) ? name : `${name}-2h-1`;
    const args = ["simulate", "--material", sheet, "--size", $("size").value,
                  "--pixel-size", $("pixel").value, "--dose", $("dose").value,
                  "--seed", $("seed").value, "-o", "image"];
    if ($("defects").value)
        args.push("--defects", $("defects").value);
    const result = await atomdl(args, {});
    if (!complain(result))
        take("image.png", result.files["image.png"]);
}

// Rows of the table of defects.
function list(found) {
    const table = $("defects-found");
    table.textContent = "";
    const row = (cells, tag) => {
        const tr = table.insertRow();
        for (const cell of cells)
            tr.appendChild(document.createElement(tag)).textContent = cell;
    };
    if (found.defects.length)
        row(["defect", "formula", "x px", "y px", "confidence"], "th");
    for (const d of found.defects)
        row([d.class, d.formula, d.x_px, d.y_px, d.confidence], "td");
}

async function analyze() {
    const files = {[state.name]: state.bytes};
    const args = ["analyze", state.name, "-o", "out", "--material",
                  $("material").value];
    if ($("pixel").value)
        args.push("--pixel-size", $("pixel").value);
    if ($("own").checked) {
        files["own.safetensors"] = state.weights;
        args.push("--weights", "own.safetensors");
    }
    const result = await atomdl(args, files);
    if (complain(result))
        return;
    const stem = `out/${state.name.replace(/\.[^.]*$/, "")}`;
    const found = JSON.parse(decode(result.files[`${stem}.defects.json`]));
    const count = (o) => Object.entries(o).map(([k, n]) => `${n} ${k}`);
    const bonds = found.bonds.map((b) => `${b.count} bonds ${b.pair} of ` +
                                         `${b.mean_A} A`);
    $("found").textContent = [...count(found.atoms), ...bonds].join(", ");
    list(found);
    show($("overlay"), result.files[`${stem}.overlay.png`], "image/png");
    $("report").href = URL.createObjectURL(
        new Blob([result.files["out/report.html"]], {type: "text/html"}));
    $("report").hidden = false;
    state.atoms = decode(result.files[`${stem}.atoms.csv`]);
}

async function train() {
    const result = await atomdl(["train", "own.recipe", "-o",
        "own.safetensors"], {"own.recipe": encode($("recipe").value)},
        (text) => { $("train-text").textContent = text; });
    if (complain(result))
        return;
    state.weights = result.files["own.safetensors"];
    $("train-text").textContent += decode(result.files["own.safetensors.csv"] ??
                                          result.files["own.csv"] ??
                                          new Uint8Array(0));
    $("own").disabled = false;
    $("own").checked = true;
}

async function takeFile(file) {
    if (file)
        take(file.name, new Uint8Array(await file.arrayBuffer()));
}

for (const action of [verify, simulate, analyze, train])
    $(action.name).onclick = () => action().catch((e) => {
        $("messages").textContent += `${e}\n`;
    });
$("file").onchange = () => takeFile($("file").files[0]);
document.ondragover = (e) => e.preventDefault();
document.ondrop = (e) => {
    e.preventDefault();
    takeFile(e.dataTransfer.files[0]);
};
