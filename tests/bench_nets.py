#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Times networks beside PyTorch and ONNX Runtime, in turns, on the same image.

    tests/bench_nets.py [--threads N] [--rounds N] [--train] [NET:SIDE...]

NET: a file of weights (default: all of weights/, 512 pixels) or fcn, unet,
resunet3, resunet7 of `atomdl bench`. --train times a step of four images
instead (PyTorch alone). Needs python3-torch; ONNX Runtime takes part where
node finds onnxruntime-node (NODE_PATH). Ratios are medians over rounds of the
best peer's time to AtomDL's in the same round; difference: the greatest of a
probability from PyTorch's.
"""
import argparse
import glob
import json
import os
import statistics
import struct
import subprocess
import tempfile
import time
import warnings

os.environ.setdefault("OMP_WAIT_POLICY", "active")
import numpy as np
import torch

import gen_net

warnings.filterwarnings("ignore", module="torch.onnx")

BATCH = 4
NODE = """
const ort = require('onnxruntime-node'), fs = require('fs');
const [file, image, side, threads] = process.argv.slice(1);
const b = fs.readFileSync(image), x = new Float32Array(side * side);
Buffer.from(x.buffer).set(b.subarray(b.length - 4 * side * side));
(async () => {
  const s = await ort.InferenceSession.create(file, {intraOpNumThreads:
      +threads, interOpNumThreads: 1, graphOptimizationLevel: 'all'});
  const t = new ort.Tensor('float32', x, [1, 1, +side, +side]);
  for await (const line of require('readline').createInterface(
      {input: process.stdin})) {
    const ms = [];
    for (let i = 0; i < JSON.parse(line).reps; i++) {
      const from = process.hrtime.bigint();
      await s.run({x: t});
      ms.push(Number(process.hrtime.bigint() - from) / 1e6);
    }
    console.log(JSON.stringify({ms}));
  }
  process.exit(0);
})().catch(e => { console.error(String(e)); process.exit(1); });
"""


class Shapes:
    """What gen_net.Net draws its tensors from; the values come later."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def draw(self, *shape):
        n = int(np.prod(shape[1:])) or 1
        return torch.tensor(self.rng.normal(0, (2 / n) ** 0.5, shape) * 0.5,
                            dtype=torch.float32)


def stored(path):
    """Network's text, and tensors in the file's order."""
    with open(path, "rb") as f:
        head = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    meta = head.pop("__metadata__")
    tensors = [(v["data_offsets"][0], k,
                np.frombuffer(data[slice(*v["data_offsets"])], "<f4")
                .reshape(v["shape"])) for k, v in head.items()]
    return meta["atomdl.network"], {k: x for _, k, x in sorted(
        tensors, key=lambda t: t[0])}


def names(text):
    """Tensor names, row by row."""
    for line in text.strip().split("\n")[1:]:
        op, name = (line.split() + [""])[:2]
        if op in ("conv", "deconv"):
            yield [name + ".weight", name + ".bias"]
        elif op == "batchnorm":
            yield [f"{name}.{k}" for k in ("weight", "bias", "running_mean",
                                           "running_var")]
        else:
            yield []


class Model(torch.nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return torch.softmax(self.net.logits(x, self.training), 1)


def build(program, what, folder):
    """(name, model); its tensors, text and ONNX go into the folder."""
    name = os.path.basename(what).split(".")[0]
    tensors = None
    if os.path.exists(what):
        text, tensors = stored(what)
    else:
        text = subprocess.run([program, "bench", "--net", what], check=True,
                              stdout=subprocess.PIPE).stdout.decode()
        text = text[text.index("input"):]
    net = gen_net.Net(text, Shapes(1))
    os.makedirs(f"{folder}/{name}", exist_ok=True)
    for row, keys in zip(net.tensor, names(text)):
        for i, k in enumerate(keys):
            if tensors:
                row[i] = torch.tensor(tensors[k])
            if k.endswith("_var"):
                row[i] = row[i].abs() + 0.5 if not tensors else row[i]
            row[i] = row[i].detach()
            np.save(f"{folder}/{name}/{k}.npy", row[i].numpy())
    with open(f"{folder}/{name}.net", "w") as f:
        f.write(text)
    return name, Model(net)


def export(model, name, side, folder, image):
    model.eval()
    with torch.no_grad():
        out = model(image)
    os.makedirs(f"{folder}/{name}/{side}", exist_ok=True)
    np.save(f"{folder}/{name}/{side}/input.npy", image.numpy()[0, 0])
    np.save(f"{folder}/{name}/{side}/output.npy", out.numpy()[0])
    path = f"{folder}/{name}_{side}.onnx"
    torch.onnx.export(model, image, path, opset_version=13, input_names=["x"],
                      output_names=["y"])
    return path


class Worker:
    def __init__(self, words, **env):
        self.p = subprocess.Popen(words, stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True,
                                  env={**os.environ, **env})

    def ask(self, **q):
        try:
            self.p.stdin.write(json.dumps(q) + "\n")
            self.p.stdin.flush()
            answer = json.loads(self.p.stdout.readline() or "{}")
        except BrokenPipeError:
            answer = {}
        if "error" in answer:
            raise SystemExit(answer["error"])
        return answer


def torch_steps(model, image, train, reps):
    x = image.to(memory_format=torch.channels_last)
    ms = []
    if train:
        model.train()
        leaves = [p.requires_grad_(True) for t in model.net.tensor
                  for p in t[:2]]
        label = (image[:, 0] > 0.5).long()
        optimiser = torch.optim.Adam(leaves)
    for _ in range(reps):
        start = time.perf_counter()
        if train:
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(
                model.net.logits(x, True), label).backward()
            optimiser.step()
        else:
            with torch.no_grad():
                model(x)
        ms.append((time.perf_counter() - start) * 1e3)
    return ms


def pair(args, what, side, folder):
    name, model = build(args.program, what, folder)
    image = torch.tensor(np.random.default_rng(0).random(
        (1, 1, side, side), dtype=np.float32))
    onnx = export(model, name, side, folder, image)
    ours = Worker([args.program, "bench", "--worker", folder])
    q = {"net": name, "size": side, "threads": args.threads}
    first = ours.ask(**q, reps=1, check=True)
    if args.train:
        q.update(train=True, batch=BATCH)
        image = image.repeat(BATCH, 1, 1, 1)
    peers = {"PyTorch": lambda n: torch_steps(model, image, args.train, n)}
    if not args.train:
        node = Worker(["node", "-e", NODE, onnx,
                       f"{folder}/{name}/{side}/input.npy", str(side),
                       str(args.threads)])
        if node.ask(reps=1).get("ms"):
            peers["ONNX Runtime"] = lambda n: node.ask(reps=n)["ms"]
    times = {k: [] for k in ("AtomDL", *peers)}
    reps = 3
    for _ in range(args.rounds + 1):
        times["AtomDL"].append(statistics.median(
            ours.ask(**q, reps=reps)["ms"]))
        for k, f in peers.items():
            times[k].append(statistics.median(f(reps)))
        reps = max(3, min(50, int(300 / times["AtomDL"][-1])))
    m = {k: statistics.median(v[1:]) for k, v in times.items()}
    ratio = statistics.median(
        min(times[k][i] for k in peers) / times["AtomDL"][i]
        for i in range(1, args.rounds + 1))
    print(f"{name} {side}{' step of %d' % BATCH if args.train else ''}: "
          + ", ".join(f"{k} {v:.1f} ms" for k, v in m.items())
          + f"; ratio {ratio:.2f}, difference {first['maxdiff']:.1e}, AtomDL's "
          + f"memory {first['memory_mib']:.1f} MiB", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--program", default="./atomdl")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--train", action="store_true")
    p.add_argument("net", nargs="*", default=[
        f + ":512" for f in sorted(glob.glob("weights/*.safetensors"))])
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        for n in args.net:
            what, side = n.rsplit(":", 1)
            pair(args, what, int(side), folder)


main()
