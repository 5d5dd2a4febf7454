"""The peers' side of the towers bench: PyTorch trains the same three towers on the same batches.

    pip install torch numpy
    python benches/peers/towers.py FOLDER --variant sparse --threads 2 --warm 2

FOLDER holds what `recgpt bench towers` wrote: `table.f32`, `dense.f32`, `batches.json`. `sparse` takes
nn.EmbeddingBag with sparse gradients and SparseAdam for the table, `dense` plain gradients and Adam (fused); both take
Adam for the rest. Prints one JSON line: {"samples_per_second", "losses"}; the first `--warm` steps are not timed.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

N_POOLS = 4


class Towers(torch.nn.Module):
    def __init__(self, folder, told, sparse):
        super().__init__()
        self.dim = told["dim"]
        table = torch.from_numpy(np.fromfile(folder / "table.f32", "<f4").reshape(-1, self.dim))
        self.table = torch.nn.EmbeddingBag.from_pretrained(
            table, freeze=False, mode="sum", sparse=sparse, include_last_offset=True
        )
        dense = np.fromfile(folder / "dense.f32", "<f4")
        for tensor in told["tensors"]:
            size = int(np.prod(tensor["shape"]))
            value = dense[tensor["from"] : tensor["from"] + size].reshape(tensor["shape"])
            name = tensor["name"].replace(".", "_")
            self.register_parameter(name, torch.nn.Parameter(torch.from_numpy(value.copy())))

    def tower(self, name, base, known):
        w1 = getattr(self, name + "_w1", None)
        if w1 is not None:
            hidden = torch.relu(F.linear(known, w1, getattr(self, name + "_b1")))
            base = base + F.linear(hidden, getattr(self, name + "_w2"))
        return F.normalize(base, dim=1)

    def forward(self, batch):
        looked_up = self.table(batch["rows"], batch["offsets"], per_sample_weights=batch["weights"])
        cols, history, users, tags = looked_up.split(batch["sizes"])
        pooled = F.embedding_bag(
            batch["pool_rows"],
            history,
            batch["pool_offsets"],
            mode="sum",
            per_sample_weights=batch["pool_weights"],
            include_last_offset=True,
        )
        gated = (pooled.view(-1, N_POOLS, self.dim) * self.user_gates).sum(1)
        known = torch.cat([users, pooled.view(len(users), -1)], 1)
        keys = self.tower("item", cols, cols)
        scale = self.log_scale.exp()
        by_user = scale * (self.tower("user", users + gated, known) @ keys.T) - batch["log_q"]
        by_tag = scale * (self.tower("tag", tags, tags) @ keys.T) - batch["log_q"]
        loss = contrast(by_user, batch["col_rows"])
        loss = loss + contrast(by_tag, batch["tag_rows"])
        return loss + contrast(by_tag, batch["cate_rows"]) if batch["cate_rows"] else loss


def contrast(logits, rows):
    if rows["hidden"] is not None:
        logits = logits.masked_fill(rows["hidden"], -torch.inf)
    return (F.cross_entropy(logits, rows["targets"], reduction="none") * rows["weights"]).sum()


def prepare(told):
    bags = lambda b: (torch.tensor(b["rows"]), torch.tensor(b["offsets"]), torch.tensor(b["weights"]))

    def rows(given, groups):
        if not given["targets"]:
            return None
        targets, excluded = torch.tensor(given["targets"]), torch.tensor(given["excluded"])
        hidden = None
        if (excluded >= 0).any():
            hidden = torch.tensor(groups)[None, :] == excluded[:, None]
            hidden[torch.arange(len(targets)), targets] = False
        return {"targets": targets, "weights": torch.tensor(given["weights"]), "hidden": hidden}

    out = {"sizes": [told["cols"], told["history"], told["users"], told["tags"]], "log_q": torch.tensor(told["log_q"])}
    out["samples"] = told["users"]
    out["rows"], out["offsets"], out["weights"] = bags(told["lookups"])
    out["pool_rows"], out["pool_offsets"], out["pool_weights"] = bags(told["pools"])
    out["col_rows"] = rows(told["col_rows"], told["titles"])
    out["tag_rows"] = rows(told["tag_rows"], told["titles"])
    out["cate_rows"] = rows(told["cate_rows"], told["categories"])
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--variant", choices=["sparse", "dense"], required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--warm", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    told = json.loads((args.folder / "batches.json").read_text())
    batches = [prepare(batch) for batch in told["batches"]]
    model = Towers(args.folder, told, args.variant == "sparse")
    rate, betas = told["learning_rate"], (0.9, 0.999)
    rest = [p for name, p in model.named_parameters() if not name.startswith("table")]
    if args.variant == "sparse":
        optimisers = [torch.optim.SparseAdam(model.table.parameters(), rate, betas), torch.optim.Adam(rest, rate, betas)]
    else:
        optimisers = [torch.optim.Adam(model.parameters(), rate, betas, fused=True)]
    losses, samples, start = [], 0, 0.0
    for step, batch in enumerate(batches):
        if step == args.warm:
            start = time.perf_counter()
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        loss = model(batch)
        loss.backward()
        for optimiser in optimisers:
            optimiser.step()
        losses.append(loss.item())
        samples += batch["samples"] if step >= args.warm else 0
    print(json.dumps({"samples_per_second": samples / (time.perf_counter() - start), "losses": losses}))


main()
