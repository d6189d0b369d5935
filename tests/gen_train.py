#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Writes vectors_train.h: PyTorch's losses, gradients and optimisers.

    /usr/bin/python3 gen_train.py > vectors_train.h      (python3-torch)

Inputs are binary32; PyTorch computes in binary64, so that the only error in
the comparison is ours. Hyperparameters are the binary32 ones that AtomDL has.
"""
import numpy as np
import torch
import torch.nn.functional as F

rng = np.random.default_rng(1)
N, C, H, W, P = 2, 3, 5, 7, 35
IGNORE = 255


def single(x):
    """The value of the binary32 nearest to x."""
    return float(np.float32(x))


def emit(name, x, kind="double"):
    x = np.asarray(x).reshape(-1)
    suffix = {"double": "", "float": "f", "uint8_t": ""}[kind]
    digits = {"double": 15, "float": 9, "uint8_t": 3}[kind]
    items = [f"{v:.{digits}g}" if kind == "uint8_t" else
             f"{v:.{digits - 1}e}{suffix}" for v in x]
    print(f"static const {kind} {name}[{len(items)}] = {{")
    line = "   "
    for item in items:
        if len(line) + len(item) + 2 > 79:
            print(line)
            line = "   "
        line += " " + item + ","
    print(line)
    print("};")


def dice(p, y, counted, smooth=1.0):
    """1 - mean over classes of 2 (sum p y + s/2)/(sum p + sum y + s)."""
    p, y = p * counted, y * counted
    over = (0, 2, 3)
    d = (2 * (p * y).sum(over) + smooth) / (p.sum(over) + y.sum(over) + smooth)
    return 1 - d.mean()


def losses(logits, label, weight):
    """name -> value and gradient by autograd."""
    counted = (label != IGNORE).double().unsqueeze(1)
    clean = torch.where(label == IGNORE, torch.zeros_like(label), label)
    onehot = F.one_hot(clean, C).permute(0, 3, 1, 2).double()

    def focal(z, gamma):
        nll = F.cross_entropy(z, label, ignore_index=IGNORE, reduction="none")
        w = weight[clean] * counted[:, 0]
        return (w * (1 - torch.exp(-nll)) ** gamma * nll).sum() / w.sum()

    terms = {
        "CE": lambda z: F.cross_entropy(z, label, ignore_index=IGNORE),
        "WCE": lambda z: F.cross_entropy(z, label, weight=weight,
                                         ignore_index=IGNORE),
        "FOCAL2": lambda z: focal(z, 2.0),
        "FOCAL15": lambda z: focal(z, 1.5),
        "DICE": lambda z: dice(F.softmax(z, 1), onehot, counted),
    }
    for name, term in terms.items():
        z = logits.clone().requires_grad_(True)
        value = term(z)
        value.backward()
        yield name, value.item(), z.grad.numpy()


def binary(logits, label, weight):
    """One class: BCE with weights of background and foreground."""
    z = logits.clone().requires_grad_(True)
    w = weight[label]
    bce = F.binary_cross_entropy_with_logits(z, label.double(),
                                             reduction="none")
    value = (w * bce).sum() / w.sum()
    value.backward()
    return value.item(), z.grad.numpy()


def optimise(make, gradients, start):
    w = torch.tensor(start.astype(np.float64), requires_grad=True)
    step = make([w])
    history = []
    for g in gradients:
        w.grad = torch.tensor(g.astype(np.float64))
        step.step()
        history.append(w.detach().numpy().copy())
    return np.array(history)


logits = (2 * rng.standard_normal((N, C, H, W))).astype(np.float32)
label = rng.integers(0, C, (N, H, W))
label[rng.random((N, H, W)) < 0.15] = IGNORE
weight = np.array([0.25, 1.0, 3.5], dtype=np.float32)

print("/* SPDX-License-Identifier: MIT")
print(f"   Made by gen_train.py with PyTorch {torch.__version__}: do not edit.")
print("   Logits (2, 3, 5, 7), labels (2, 5, 7); ten steps of 12 weights. */")
emit("V_LOGITS", logits, "float")
emit("V_LABEL", label, "uint8_t")
emit("V_WEIGHT", weight, "float")
for name, value, grad in losses(torch.tensor(logits.astype(np.float64)),
                                torch.tensor(label),
                                torch.tensor(weight.astype(np.float64))):
    print(f"static const double V_{name} = {value:.15g};")
    emit(f"V_{name}_GRAD", grad)

one = logits[:, :1].copy()
mark = rng.integers(0, 2, (N, H, W))
two = np.array([0.5, 2.0], dtype=np.float32)
value, grad = binary(torch.tensor(one[:, 0].astype(np.float64)),
                     torch.tensor(mark), torch.tensor(two.astype(np.float64)))
emit("V_MARK", mark, "uint8_t")
emit("V_ONE", one, "float")
print(f"static const double V_BCE = {value:.15g};")
emit("V_BCE_GRAD", grad)

STEPS, LONG = 10, 12
start = rng.standard_normal(LONG).astype(np.float32)
gradients = (rng.standard_normal((STEPS, LONG))
             * 10.0 ** rng.integers(-3, 3, LONG)).astype(np.float32)
emit("V_START", start, "float")
emit("V_GRADIENTS", gradients, "float")
betas = (single(0.9), single(0.999))
emit("V_ADAM", optimise(lambda w: torch.optim.Adam(
    w, lr=single(0.01), betas=betas, eps=single(1e-8)), gradients, start))
emit("V_ADAMW", optimise(lambda w: torch.optim.AdamW(
    w, lr=single(0.01), betas=betas, eps=single(1e-8),
    weight_decay=single(0.1)), gradients, start))
emit("V_SGD", optimise(lambda w: torch.optim.SGD(
    w, lr=single(0.01), momentum=single(0.9)), gradients, start))
