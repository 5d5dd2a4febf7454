"""The peers' side of the training bench: PyTorch takes the steps that our trainer takes, on the processor.

    pip install torch transformers safetensors accelerate
    python benches/peers/train.py --batch batch.json --model FOLDER --steps 6 --threads 2

FOLDER is a Hugging Face folder of Qwen3 with tied embeddings; its weights are where training starts, in float32. The
batch file holds

    {"rows": [{"tokens": [...], "lens": [...], "loss": [true, ...]}, ...], "rows_per_step": 4, "lr": 1e-3,
     "beta1": 0.9, "beta2": 0.98, "eps": 1e-8, "weight_decay": 0.1, "clip": 1.0}

of which all but `rows` may be missing. A row is several sequences side by side, blind to each other, `lens` their
lengths; `loss[i]` says that token i is a target, to be predicted from those before it in its sequence (the first token
of a sequence never is). Every step takes the next `rows_per_step` rows, from the first again after the last; its loss
is the mean over the targets. The learning rate is constant, weight decay lies on matrices alone.

One line for each variant and precision, as soon as it is known:

    {"variant": "plain_compiled", "precision": "bfloat16", "tokens_per_second": 1.0, "loss_first": 7.9,
     "loss_last": 7.1, "steps": 6, "threads": 2, "torch": "2.9.0"}

`tokens_per_second` leaves out the first step, and what is compiled is compiled before it. Variants:

    transformers        Qwen3ForCausalLM on padded rows, told by position ids where sequences begin
    transformers_split  the same, each sequence attending on its own, and the head at the targets only
    plain               the model written out here: matrices joined, flash attention sequence by sequence, the head at
                        the targets only; with _rows the rows of a step go through one after another (their gradients
                        are added up), with _compiled all but the attention goes through torch.compile

All use the fused AdamW and clip the gradient. bfloat16 is autocast: weights, norms, loss and optimiser stay in float32.
It is left out where the processor has no instructions for it: emulated, a step takes minutes and says nothing.
Freed memory is kept for the next step: given back to the system, it would cost PyTorch most of its time in page faults.
"""

import argparse
import ctypes
import json
import math
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

DEFAULTS = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.98, "eps": 1e-8, "weight_decay": 0.1, "clip": 1.0}


class Packed:
    """Rows side by side: tokens, positions, lengths of sequences, places that predict a target, and the targets."""

    def __init__(self, rows):
        tokens = torch.tensor([token for row in rows for token in row["tokens"]])
        self.lens = [length for row in rows for length in row["lens"]]
        if sum(self.lens) != len(tokens):
            raise SystemExit(f"the lengths add up to {sum(self.lens)}, the rows hold {len(tokens)} tokens")
        is_target = torch.tensor([mark for row in rows for mark in row["loss"]])
        starts = torch.tensor([0, *self.lens[:-1]]).cumsum(0)
        is_target[starts] = False
        self.tokens = tokens
        self.positions = torch.cat([torch.arange(length) for length in self.lens])
        where = is_target.nonzero()[:, 0]
        self.places, self.targets = where - 1, tokens[where]


def attend_by_sequence(q, k, v, lens):
    """Causal attention within each sequence; q, k, v are [heads, tokens, head_dim], as many heads in all three."""
    parts = [
        F.scaled_dot_product_attention(*(part[None] for part in parts), is_causal=True)[0]
        for parts in zip(q.split(lens, 1), k.split(lens, 1), v.split(lens, 1), strict=True)
    ]
    return torch.cat(parts, dim=1)


class Plain(torch.nn.Module):
    """Qwen3 with as little around the arithmetic as PyTorch allows."""

    def __init__(self, folder, rows_at_once, compiled):
        super().__init__()
        c = json.loads((folder / "config.json").read_text())
        self.heads, self.kv_heads, self.head_dim = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
        self.eps, self.theta, self.layers = c["rms_norm_eps"], c["rope_theta"], c["num_hidden_layers"]
        self.rows_at_once = rows_at_once
        w = {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
        joined = {"embed": w["model.embed_tokens.weight"], "norm": w["model.norm.weight"]}
        for layer in range(self.layers):
            at, to = f"model.layers.{layer}.", f"{layer}_"
            joined[to + "qkv"] = torch.cat([w[f"{at}self_attn.{x}_proj.weight"] for x in "qkv"])
            joined[to + "o"] = w[at + "self_attn.o_proj.weight"]
            joined[to + "up"] = torch.cat([w[f"{at}mlp.{x}_proj.weight"] for x in ("gate", "up")])
            joined[to + "down"] = w[at + "mlp.down_proj.weight"]
            joined[to + "norm1"] = w[at + "input_layernorm.weight"]
            joined[to + "norm2"] = w[at + "post_attention_layernorm.weight"]
            joined[to + "norm_q"] = w[at + "self_attn.q_norm.weight"]
            joined[to + "norm_k"] = w[at + "self_attn.k_norm.weight"]
        self.w = torch.nn.ParameterDict(joined)
        wrap = torch.compile if compiled else lambda function: function
        self.project, self.finish, self.head = wrap(self.project), wrap(self.finish), wrap(self.head)

    def rms(self, x, weight):
        x = x.float()
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * weight

    def project(self, x, cos, sin, norm1, qkv, norm_q, norm_k):
        """Queries, keys and values before attention, [heads, tokens, head_dim] each."""
        mixed = F.linear(self.rms(x, norm1), qkv).unflatten(-1, (-1, self.head_dim))
        q, k, v = mixed.split([self.heads, self.kv_heads, self.kv_heads], dim=1)
        turned = []
        for part, weight in ((q, norm_q), (k, norm_k)):
            low, high = self.rms(part, weight).chunk(2, dim=-1)
            turned.append(torch.cat([low * cos - high * sin, high * cos + low * sin], dim=-1).to(v.dtype))
        k, v = (part.repeat_interleave(self.heads // self.kv_heads, dim=1) for part in (turned[1], v))
        return turned[0].transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1)

    def finish(self, x, attended, o, norm2, up, down):
        """What follows attention in a block."""
        x = x + F.linear(attended.transpose(0, 1).flatten(1), o)
        gate, linear = F.linear(self.rms(x, norm2), up).chunk(2, dim=-1)
        return x + F.linear(F.silu(gate) * linear, down)

    def head(self, x, places, targets, norm, embed):
        """The sum of the losses at the targets."""
        logits = F.linear(self.rms(x[places], norm), embed)
        return F.cross_entropy(logits.float(), targets, reduction="sum")

    def loss_sum(self, batch):
        w = self.w
        rates = self.theta ** (-torch.arange(0, self.head_dim, 2) / self.head_dim)
        angles = (batch.positions[:, None] * rates)[:, None]
        cos, sin = angles.cos(), angles.sin()
        x = F.embedding(batch.tokens, w["embed"])
        for i in range(self.layers):
            q, k, v = self.project(x, cos, sin, *(w[f"{i}_{n}"] for n in ("norm1", "qkv", "norm_q", "norm_k")))
            attended = attend_by_sequence(q, k, v, batch.lens)
            x = self.finish(x, attended, *(w[f"{i}_{n}"] for n in ("o", "norm2", "up", "down")))
        return self.head(x, batch.places, batch.targets, w["norm"], w["embed"])

    def prepare(self, rows):
        size = self.rows_at_once or len(rows)
        return [Packed(rows[first : first + size]) for first in range(0, len(rows), size)]


class Transformers(torch.nn.Module):
    """transformers' own model."""

    def __init__(self, folder, split):
        super().__init__()
        from transformers import AutoModelForCausalLM, AttentionInterface
        from transformers.masking_utils import AttentionMaskInterface

        AttentionInterface.register("by_sequence", self.attention)
        AttentionMaskInterface.register("by_sequence", lambda *_, **__: None)
        way = "by_sequence" if split else "sdpa"
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation=way)
        self.model.train()
        self.split = split

    @staticmethod
    def attention(module, query, key, value, mask, *, sequence_lens, **_):
        groups = module.num_key_value_groups
        key, value = (part.repeat_interleave(groups, dim=1) for part in (key, value))
        attended = attend_by_sequence(query[0], key[0], value[0], sequence_lens)
        return attended.transpose(0, 1)[None], None

    def loss_sum(self, batch):
        if self.split:
            tokens, positions = batch.tokens[None], batch.positions[None]
            keep = {"logits_to_keep": batch.places, "sequence_lens": batch.lens}
            logits = self.model(tokens, position_ids=positions, use_cache=False, **keep).logits[0]
            return F.cross_entropy(logits.float(), batch.targets, reduction="sum")
        tokens, positions, labels = batch
        logits = self.model(tokens, position_ids=positions, use_cache=False).logits
        predicted, wanted = logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten()
        return F.cross_entropy(predicted, wanted, ignore_index=-100, reduction="sum")

    def prepare(self, rows):
        if self.split:
            return [Packed(rows)]
        longest = max(len(row["tokens"]) for row in rows)
        tokens, positions, labels = [], [], []
        for row in rows:
            packed, rest = Packed([row]), longest - len(row["tokens"])
            marked = torch.full_like(packed.tokens, -100)
            marked[packed.places + 1] = packed.targets
            tokens.append(F.pad(packed.tokens, (0, rest)))
            positions.append(torch.cat([packed.positions, torch.arange(rest)]))
            labels.append(F.pad(marked, (0, rest), value=-100))
        return [tuple(torch.stack(parts) for parts in (tokens, positions, labels))]


VARIANTS = {
    "transformers": lambda folder: Transformers(folder, split=False),
    "transformers_split": lambda folder: Transformers(folder, split=True),
    "plain": lambda folder: Plain(folder, rows_at_once=None, compiled=False),
    "plain_rows": lambda folder: Plain(folder, rows_at_once=1, compiled=False),
    "plain_compiled": lambda folder: Plain(folder, rows_at_once=None, compiled=True),
    "plain_rows_compiled": lambda folder: Plain(folder, rows_at_once=1, compiled=True),
}
PRECISIONS = {
    "float32": nullcontext,
    "bfloat16": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


def optimiser(model, job):
    matrices = [p for p in model.parameters() if p.ndim == 2]
    norms = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": job["weight_decay"]}, {"params": norms, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=job["lr"], betas=(job["beta1"], job["beta2"]), eps=job["eps"], fused=True)


def steps_of(job):
    """The rows of each step until they begin anew, and how many tokens they are."""
    rows, size = job["rows"], job.get("rows_per_step", 4)
    count = math.lcm(len(rows), size) // size
    for step in range(count):
        yield [rows[(step * size + i) % len(rows)] for i in range(size)]


def add_gradients(model, parts, precision):
    """The mean loss of a step, whose gradient is added up in the parameters."""
    n_targets = sum(targets_of(part) for part in parts)
    total = 0.0
    for part in parts:
        with PRECISIONS[precision]():
            loss = model.loss_sum(part) / n_targets
        loss.backward()
        total += loss.item()
    return total


def targets_of(part):
    return len(part.targets) if isinstance(part, Packed) else int((part[2][:, 1:] != -100).sum())


def native_precisions():
    """Those that the processor multiplies in."""
    cpu = torch.cpu
    native = cpu._is_avx512_bf16_supported() or cpu._is_amx_tile_supported()
    return [name for name in PRECISIONS if name != "bfloat16" or native]


def keep_freed_memory():
    """Has glibc neither map large blocks one by one nor shrink its heap; elsewhere nothing changes."""
    m_trim_threshold, m_mmap_max = -1, -4
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, 2**31 - 1)


def measure(name, precision, folder, job, steps):
    torch.manual_seed(0)
    model = VARIANTS[name](folder)
    batches = [(model.prepare(rows), sum(len(row["tokens"]) for row in rows)) for rows in steps_of(job)]
    adam = optimiser(model, job)
    for parts, _ in batches:  # compiles, and lets memory grow
        add_gradients(model, parts, precision)
        adam.zero_grad()
    losses, tokens, seconds = [], 0, 0.0
    for step in range(steps):
        parts, n_tokens = batches[step % len(batches)]
        start = time.perf_counter()
        losses.append(add_gradients(model, parts, precision))
        torch.nn.utils.clip_grad_norm_(model.parameters(), job["clip"])
        adam.step()
        adam.zero_grad()
        if step > 0:
            tokens, seconds = tokens + n_tokens, seconds + time.perf_counter() - start
    return {
        "variant": name,
        "precision": precision,
        "tokens_per_second": tokens / seconds,
        "loss_first": losses[0],
        "loss_last": losses[-1],
        "steps": steps,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--batch", type=Path, required=True)
    arguments.add_argument("--model", type=Path, required=True)
    arguments.add_argument("--steps", type=int, default=6)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    arguments.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=native_precisions())
    options = arguments.parse_args()
    if options.steps < 2:
        arguments.error("--steps must be at least 2: the first is not counted")
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    job = DEFAULTS | json.loads(options.batch.read_text())
    for name in options.variants:
        for precision in options.precisions:
            try:
                print(json.dumps(measure(name, precision, options.model, job, options.steps)), flush=True)
            except Exception as error:  # a variant that this machine cannot run must not hide the others
                print(f"{name} in {precision}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
