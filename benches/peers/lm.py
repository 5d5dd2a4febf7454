"""The peers' side of the language-model bench: llama.cpp and transformers do the job that our engine does.

    pip install numpy llama-cpp-python          # {"engine": "llamacpp"}, with a file from to_gguf.py
    pip install numpy torch transformers        # {"engine": "transformers"}
    python benches/peers/lm.py < job.json

Reads one JSON job:

    {"engine": "llamacpp" or "transformers", "model": a .gguf file or a Hugging Face folder,
     "prompts": [[token ids], ...], "new_tokens": 300, "batch": 16, "threads": 2 or "auto",
     "share_prefix": 0,
     "flash_attention": true, false or "auto", "ubatch": 256, "kv_unified": false,    (llama.cpp)
     "cache": "static" or "dynamic", "dtype": "float32" or "bfloat16"}                (transformers)

and writes one JSON line. Decoding is greedy, goes on after the end token, and gives `new_tokens` for every prompt; the
prompts go through in groups of `batch`, decoded in step. Neither loading nor a whole first group to warm up is timed.

`prefill_tokens` are all tokens of the prompts, and `prefill_seconds` ends with the first new token of each prompt;
`decode_tokens` are the other new ones. With `share_prefix` the first n tokens, equal in all prompts, are computed once
in every group. `first_token_seconds` is the median over single requests, whose shared prefix is there already. "auto"
tries all choices in short runs and keeps the fastest for prefill and for decoding; `settings` tells which.
"""

import ctypes
import json
import logging
import os
import statistics
import sys
import time
from itertools import product

import numpy as np

TRIAL_STEPS = 32
TRIALS = 3
SINGLE_REQUESTS = 7


def longest_sequence(job):
    return max(map(len, job["prompts"])) + max(job["new_tokens"], TRIAL_STEPS + 1)


class LlamaCpp:
    """llama.cpp's own API: a step of a group is one call with one token of every sequence."""

    def __init__(self, job, flash_attention):
        import llama_cpp

        self.api = llama_cpp
        logging.getLogger("llama-cpp-python").setLevel(logging.ERROR)
        llama_cpp.llama_backend_init()
        model = llama_cpp.llama_model_load_from_file(job["model"].encode(), llama_cpp.llama_model_default_params())
        if not model:
            raise SystemExit(f"llama.cpp does not load {job['model']}")
        self.vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
        params = llama_cpp.llama_context_default_params()
        params.n_seq_max = job["batch"]
        params.n_ctx = job["batch"] * -(-longest_sequence(job) // 256) * 256
        params.n_batch = params.n_ubatch = self.most = job.get("ubatch", 256)
        params.kv_unified = job.get("kv_unified", False)
        params.flash_attn_type = int(flash_attention)
        self.context = llama_cpp.llama_init_from_model(model, params)
        self.memory = llama_cpp.llama_get_memory(self.context)
        self.make_batch(max(self.most, job["batch"]))

    def make_batch(self, size):
        self.tokens, self.positions, self.sequences = (np.zeros(size, np.int32) for _ in range(3))
        self.wants_logits = np.zeros(size, np.int8)
        self.sequence_counts = np.ones(size, np.int32)
        self.sequence_pointers = self.sequences.ctypes.data + 4 * np.arange(size, dtype=np.uint64)
        fields = {
            "token": self.tokens,
            "pos": self.positions,
            "n_seq_id": self.sequence_counts,
            "seq_id": self.sequence_pointers,
            "logits": self.wants_logits,
        }
        self.batch = self.api.llama_batch()
        types = dict(self.batch._fields_)
        for name, array in fields.items():
            setattr(self.batch, name, ctypes.cast(array.ctypes.data, types[name]))

    def set_threads(self, threads):
        self.api.llama_set_n_threads(self.context, threads, threads)

    def compute(self, tokens, positions, sequences, wants_logits):
        count = len(tokens)
        self.batch.n_tokens = count
        self.tokens[:count] = tokens
        self.positions[:count] = positions
        self.sequences[:count] = sequences
        self.wants_logits[:count] = wants_logits
        if status := self.api.llama_decode(self.context, self.batch):
            raise RuntimeError(f"llama_decode gives {status}")

    def best_tokens(self, count):
        first = self.api.llama_get_logits(self.context)
        rows = (ctypes.c_float * (count * self.vocab)).from_address(ctypes.addressof(first.contents))
        return np.frombuffer(rows, np.float32).reshape(count, self.vocab).argmax(axis=1)

    def append(self, sequence, tokens):
        """Computes a part of one prompt, with logits for its last token."""
        start = self.lengths[sequence]
        for offset in range(0, len(tokens), self.most):
            part = tokens[offset : offset + self.most]
            positions = np.arange(start + offset, start + offset + len(part))
            wants_logits = np.zeros(len(part))
            wants_logits[-1] = offset + len(part) == len(tokens)
            self.compute(part, positions, sequence, wants_logits)
        self.lengths[sequence] += len(tokens)

    def begin(self, prefix, sequences):
        self.api.llama_memory_clear(self.memory, False)
        self.lengths = np.zeros(sequences, np.int64)
        if prefix:
            self.append(0, prefix)
            for sequence in range(1, sequences):
                self.api.llama_memory_seq_cp(self.memory, 0, sequence, -1, -1)
            self.lengths[:] = len(prefix)

    def prefill(self, prompts):
        best = []
        for sequence, prompt in enumerate(prompts):
            self.append(sequence, prompt)
            best.append(self.best_tokens(1))
        return np.concatenate(best)

    def step(self, tokens):
        self.compute(tokens, self.lengths, np.arange(len(tokens)), 1)
        self.lengths += 1
        return self.best_tokens(len(tokens))


class Transformers:
    """transformers' model, called step by step with a cache; the prompts of a group have one length."""

    def __init__(self, job, cache):
        import torch
        from transformers import AutoModelForCausalLM, DynamicCache, StaticCache

        torch.inference_mode().__enter__()
        self.torch = torch
        dtype = getattr(torch, job.get("dtype", "float32"))
        self.model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=dtype).eval()
        self.new_cache = {
            "dynamic": lambda: DynamicCache(config=self.model.config),
            "static": lambda: StaticCache(config=self.model.config, max_cache_len=longest_sequence(job)),
        }[cache]

    def set_threads(self, threads):
        self.torch.set_num_threads(threads)

    def compute(self, tokens):
        output = self.model(tokens, past_key_values=self.cache, use_cache=True, logits_to_keep=1)
        return output.logits[:, -1].argmax(dim=-1)

    def begin(self, prefix, sequences):
        self.cache = self.new_cache()
        if prefix:
            self.compute(self.torch.tensor([prefix]))
            for layer in self.cache.layers:
                layer.keys = layer.keys.repeat_interleave(sequences, dim=0)
                layer.values = layer.values.repeat_interleave(sequences, dim=0)

    def prefill(self, prompts):
        return self.compute(self.torch.tensor(prompts))

    def step(self, tokens):
        return self.compute(tokens[:, None])


# The class, the key of the job that chooses between variants, and the variants that "auto" tries. A dynamic cache is
# copied at every step, which costs more the longer it gets; a short run does not show that, so it is not tried.
ENGINES = {
    "llamacpp": (LlamaCpp, "flash_attention", [False, True]),
    "transformers": (Transformers, "cache", ["static"]),
}


def run_group(engine, prompts, shared, new_tokens, threads):
    """The seconds of prefill and of decoding, and the new tokens of every prompt."""
    prefill_threads, decode_threads = threads
    engine.set_threads(prefill_threads)
    start = time.perf_counter()
    engine.begin(prompts[0][:shared], len(prompts))
    steps = [engine.prefill([prompt[shared:] for prompt in prompts])]
    prefilled = time.perf_counter()
    engine.set_threads(decode_threads)
    for _ in range(new_tokens - 1):
        steps.append(engine.step(steps[-1]))
    tokens = np.stack([np.asarray(step) for step in steps], axis=1).tolist()
    return prefilled - start, time.perf_counter() - prefilled, tokens


def first_token_seconds(engine, prompt, shared, threads):
    engine.set_threads(threads[0])
    engine.begin(prompt[:shared], 1)
    start = time.perf_counter()
    int(engine.prefill([prompt[shared:]])[0])
    return time.perf_counter() - start


def choose(job):
    """An engine, its variant, and the numbers of threads for prefill and for decoding."""
    engine_class, variant_key, all_variants = ENGINES[job["engine"]]
    prompts, shared = job["prompts"][: job["batch"]], job.get("share_prefix", 0)
    variants = choices(job, variant_key, all_variants)
    cores = os.cpu_count() or 1
    thread_counts = choices(job, "threads", sorted({1, max(1, cores // 2), cores}))
    trials = TRIALS if len(variants) * len(thread_counts) > 1 else 1
    shortest = float("inf")
    for variant in variants:
        engine = engine_class(job, variant)
        prefill, decode = ({count: [] for count in thread_counts} for _ in range(2))
        for _, count in product(range(trials), thread_counts):
            prefill_seconds, decode_seconds, _ = run_group(engine, prompts, shared, TRIAL_STEPS + 1, (count, count))
            prefill[count].append(prefill_seconds)
            decode[count].append(decode_seconds)
        threads = tuple(min(thread_counts, key=lambda count: min(seconds[count])) for seconds in (prefill, decode))
        whole = min(prefill[threads[0]]) + min(decode[threads[1]]) / TRIAL_STEPS * job["new_tokens"]
        if whole < shortest:
            shortest, chosen = whole, (engine, variant, threads)
    return chosen


def choices(job, key, all_choices):
    chosen = job.get(key, "auto")
    return all_choices if chosen == "auto" else [chosen]


def run(job):
    prompts, batch, new_tokens = job["prompts"], job["batch"], job["new_tokens"]
    shared = job.get("share_prefix", 0)
    if any(prompt[:shared] != prompts[0][:shared] for prompt in prompts):
        raise SystemExit(f"the prompts do not share their first {shared} tokens")
    engine, variant, threads = choose(job)
    run_group(engine, prompts[:batch], shared, new_tokens, threads)  # memory that grows is slow the first time
    prefill_seconds, decode_seconds, tokens = 0.0, 0.0, []
    for first in range(0, len(prompts), batch):
        prefill, decode, new = run_group(engine, prompts[first : first + batch], shared, new_tokens, threads)
        prefill_seconds += prefill
        decode_seconds += decode
        tokens += new
    singles = [prompts[i % len(prompts)] for i in range(SINGLE_REQUESTS)]
    return {
        "prefill_seconds": prefill_seconds,
        "prefill_tokens": sum(map(len, prompts)),
        "decode_seconds": decode_seconds,
        "decode_tokens": len(prompts) * (new_tokens - 1),
        "first_token_seconds": statistics.median(first_token_seconds(engine, p, shared, threads) for p in singles),
        "settings": {
            "prefill_threads": threads[0],
            "decode_threads": threads[1],
            ENGINES[job["engine"]][1]: variant,
        },
        "tokens": tokens,
    }


if __name__ == "__main__":
    print(json.dumps(run(json.load(sys.stdin))))
