#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Writes vectors_net.h: PyTorch's outputs and gradients of small networks.

    /usr/bin/python3 gen_net.py > vectors_net.h          (python3-torch)

Images, labels and weights come from number(), which tests/test_torch.c has as
well; only results are stored. PyTorch computes in binary64, so that the only
error in the comparison is ours.
"""
import numpy as np
import torch
import torch.nn.functional as F

N, H, W = 2, 4, 8
UNET = """input 1
conv a ch=3 k=3
leaky p=0.1
batchnorm b
maxpool
conv c ch=4 k=3
batchnorm d
relu
bilinear e
conv f ch=2 k=1
concat g in=f in2=b
conv h ch=3 k=1
softmax
"""
TRAIN = """input 1
conv a ch=4 k=3
relu
conv b ch=4 k=3
relu
conv c ch=2 k=1
softmax
"""
CASES = [
    "input 2\nconv a ch=3 k=1\nsoftmax\n",
    "input 2\nconv a ch=2 k=3\nsoftmax\n",
    "input 1\nconv a ch=2 k=5\nsoftmax\n",
    "input 1\nconv a ch=2 k=3 dilation=2\nsoftmax\n",
    "input 2\nconv a ch=2 k=3 stride=2\nnearest\nsoftmax\n",
    "input 1\nconv a ch=3 k=5 stride=2\nleaky p=0.2\ndeconv b ch=2\nsoftmax\n",
    "input 1\nconv a ch=2 k=3\nmaxpool\ndeconv b ch=2\nsoftmax\n",
    "input 2\nbatchnorm a\nleaky p=0.3\nconv b ch=2 k=1\nbatchnorm c\n"
    "softmax\n",
    "input 1\nconv a ch=2 k=3\nmaxpool b\nbilinear c\nadd d in=c in2=a\n"
    "softmax\n",
    UNET,
]


def number(i):
    """Hash of i, in [-1/2, 1/2), exact in binary32."""
    i = np.asarray(i, dtype=np.uint64) * 2654435761 & 0xffffffff
    return (i >> 16).astype(np.float64) / 65536 - 0.5


class Numbers:
    def __init__(self, start):
        self.at = start

    def draw(self, *shape):
        n = int(np.prod(shape))
        self.at += n
        x = number(np.arange(self.at - n, self.at))
        return torch.tensor(x.reshape(shape))


def parse(text):
    """Rows (op, options) with in, in2 as indices; channels of the image."""
    lines = text.strip().split("\n")
    rows, names = [], {"input": -1}
    for i, line in enumerate(lines[1:]):
        op, *rest = line.split()
        o = {"in": i - 1, "k": 3, "stride": 1, "dilation": 1}
        for word in rest:
            key, _, value = word.partition("=")
            if not value:
                names[key] = i
            elif key in ("in", "in2"):
                o[key] = names[value]
            else:
                o[key] = np.float32(value).item() if key == "p" else int(value)
        rows.append((op, o))
    return rows, int(lines[0].split()[1])


class Net:
    """Tensors in AtomDL's order and PyTorch's layout."""

    def __init__(self, text, numbers):
        self.rows, c = parse(text)
        self.tensor, channels = [], {-1: c}
        for i, (op, o) in enumerate(self.rows):
            c = channels[o["in"]]
            if op == "concat":
                c += channels[o["in2"]]
            draw = numbers.draw
            if op == "conv":
                t = [draw(o["ch"], c, o["k"], o["k"]), draw(o["ch"]) / 2]
            elif op == "deconv":
                t = [draw(c, o["ch"], 3, 3), draw(o["ch"]) / 2]
            elif op == "batchnorm":
                t = [draw(c) + 1, draw(c), draw(c), draw(c) + 1]
            else:
                t = []
            learned = t[:2]
            for x in learned:
                x.requires_grad_(True)
            self.tensor.append(t)
            channels[i] = o.get("ch", c)
        self.classes = channels[len(self.rows) - 1]

    def learned(self):
        return [x for t in self.tensor for x in t[:2]]

    def logits(self, image, training):
        out = {-1: image}
        for i, (op, o) in enumerate(self.rows):
            x, t = out[o["in"]], self.tensor[i]
            if op == "conv":
                x = F.conv2d(x, t[0], t[1], stride=o["stride"],
                             padding=o["dilation"] * (o["k"] - 1) // 2,
                             dilation=o["dilation"])
            elif op == "deconv":
                h, w = x.shape[2:]
                x = F.conv_transpose2d(x, t[0], t[1], stride=2)
                x = x[:, :, :2 * h, :2 * w]
            elif op == "batchnorm":
                x = F.batch_norm(x, t[2], t[3], t[0], t[1], training, 0.1)
            elif op == "relu":
                x = F.relu(x)
            elif op == "leaky":
                x = F.leaky_relu(x, o["p"])
            elif op == "maxpool":
                x = F.max_pool2d(x, 2)
            elif op == "nearest":
                x = F.interpolate(x, scale_factor=2)
            elif op == "bilinear":
                x = F.interpolate(x, scale_factor=2, mode="bilinear",
                                  align_corners=False)
            elif op == "concat":
                x = torch.cat([x, out[o["in2"]]], 1)
            elif op == "add":
                x = x + out[o["in2"]]
            else:
                assert op == "softmax"
            out[i] = x
        return x


class Table:
    """All results in one array."""

    def __init__(self):
        self.x = []

    def add(self, x):
        self.x += np.asarray(torch.as_tensor(x).detach()).reshape(-1).tolist()

    def write(self, name):
        print(f"static const double {name}[{len(self.x)}] = {{")
        line = "   "
        for x in self.x:
            item = f" {x:.8g},"
            if len(line) + len(item) > 79:
                print(line)
                line = "   "
            line += item
        print(line)
        print("};")


def data(numbers, net, channels):
    image = numbers.draw(N, channels, H, W) * 4
    label = ((numbers.draw(N, H, W) + 0.5) * 65536).long() % net.classes
    return image, label


def case(text, index, table):
    """logits, loss, gradients; then running statistics and softmax in use"""
    numbers = Numbers(index * 1000)
    net = Net(text, numbers)
    image, label = data(numbers, net, parse(text)[1])
    z = net.logits(image, True)
    loss = F.cross_entropy(z, label)
    loss.backward()
    table.add(z)
    table.add(loss)
    for t in net.tensor:
        for x in t[:2]:
            table.add(x.grad)
        for x in t[2:]:
            table.add(x)
    table.add(torch.softmax(net.logits(image[:1], False), 1))


def training(adam, table):
    """ten losses, then the weights"""
    numbers = Numbers(20000)
    net = Net(TRAIN, numbers)
    image, label = data(numbers, net, 1)
    s = lambda x: float(np.float32(x))
    if adam:
        opt = torch.optim.Adam(net.learned(), s(0.01), (s(0.9), s(0.999)),
                               s(1e-8))
    else:
        opt = torch.optim.SGD(net.learned(), s(0.05), s(0.9))
    for _ in range(10):
        opt.zero_grad()
        loss = F.cross_entropy(net.logits(image, True), label)
        loss.backward()
        opt.step()
        table.add(loss)
    for x in net.learned():
        table.add(x)


def text(name, s):
    print(f"#define {name} \\")
    lines = s.strip().split("\n")
    for i, line in enumerate(lines):
        print(f'    "{line}\\n"' + (" \\" if i + 1 < len(lines) else ""))


def main():
    print("/* SPDX-License-Identifier: MIT\n"
          f"   Made by gen_net.py with PyTorch {torch.__version__}: do not "
          "edit. */\n")
    for i, c in enumerate(CASES):
        text(f"V_NET{i}", c)
    text("V_TRAIN", TRAIN)
    print("static const char *const V_NETS[] = {"
          + ", ".join(f"V_NET{i}" for i in range(len(CASES))) + "};")
    print(f"enum {{ V_N = {N}, V_H = {H}, V_W = {W} }};")
    table = Table()
    for i, c in enumerate(CASES):
        case(c, i, table)
    table.write("V_RESULTS")
    for name in "V_SGD", "V_ADAM":
        table = Table()
        training(name == "V_ADAM", table)
        table.write(name)


if __name__ == "__main__":
    main()
