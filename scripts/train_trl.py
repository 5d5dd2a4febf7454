"""Trains a folder of the built-in model with TRL, on the data of `recgpt export --format trl`.

    pip install torch trl
    recgpt align --recipe shipped --out run --data DATA --export samples.jsonl
    recgpt export --format trl --samples samples.jsonl --out export --tokenizer models/builtin/tokenizer.json
    python scripts/train_trl.py --data export --model models/builtin --check
    python scripts/train_trl.py --data export --model models/builtin --out trained          # one GPU, or none
    accelerate launch scripts/train_trl.py --data export --model models/builtin --out trained

MODEL is a Hugging Face folder with config.json, model.safetensors and tokenizer.json; OUT becomes such a folder, which
our engine loads as it is: `recgpt lm serve --model trained`, `recgpt align --from trained`.

The tokens are those of our own trainer: the turns joined without anything between them, special tokens read as such in
prompts and as plain text in answers, <|endoftext|> after every answer, and the loss on answers and their ends alone.
Samples are packed into rows of --row-tokens; position ids start anew with every sample, from which transformers makes
a mask that keeps samples of a row apart. --check holds both against the truth: the tokens against tokens.jsonl, which
`recgpt export --tokenizer` wrote, and the losses of a packed row against those of its samples alone.
"""

import argparse
import hashlib
import json
import shutil
from pathlib import Path

import tokenizers
import torch
import transformers
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

END, PAD, IGNORED = "<|endoftext|>", "<|pad|>", -100


class Encoder:
    """Tokens and labels of a conversation."""

    def __init__(self, file):
        self.trusting, self.wary = (tokenizers.Tokenizer.from_file(str(file)) for _ in range(2))
        self.wary.encode_special_tokens = True  # special tokens are plain text
        self.end = self.trusting.token_to_id(END)
        if self.end is None:
            raise SystemExit(f"{file} has no token {END}: give the tokenizer of a model that recgpt aligned")

    def encode(self, messages):
        tokens, labels = [], []
        for message in messages:
            if message["role"] == "assistant":
                new = [*self.wary.encode(message["content"], add_special_tokens=False).ids, self.end]
                labels += new
            else:
                new = self.trusting.encode(message["content"], add_special_tokens=False).ids
                labels += [IGNORED] * len(new)
            tokens += new
        return {"input_ids": tokens, "labels": labels}


def read_lines(file):
    with open(file, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise SystemExit(f"{file}, line {number}: {error}; give what `recgpt export` wrote") from error


def encode_file(encoder, file, longest):
    """Samples of a file that fit, in tokens; how many there were; and a hash of all tokens."""
    encoded = [encoder.encode(row["messages"]) for row in read_lines(file)]
    kept = [sample for sample in encoded if len(sample["input_ids"]) <= longest]
    digest = hashlib.sha256()
    for sample in kept:
        digest.update(json.dumps(sample["input_ids"]).encode())
    return kept, len(encoded), digest.hexdigest()


def check_tokens(encoder, data):
    wanted = {row["id"]: row for row in read_lines(data / "tokens.jsonl")}
    seen = 0
    for split in ("train", "test"):
        file = data / f"sft_{split}.jsonl"
        for row in read_lines(file) if file.exists() else []:
            want = wanted.get(row["id"])
            if want is None:
                continue
            labels = [token if mark else IGNORED for token, mark in zip(want["tokens"], want["loss"], strict=True)]
            got = encoder.encode(row["messages"])
            if got != {"input_ids": want["tokens"], "labels": labels}:
                raise SystemExit(f"{row['id']}: tokens or labels differ from those of our trainer in tokens.jsonl")
            seen += 1
    if seen != len(wanted):
        raise SystemExit(f"{seen} of {len(wanted)} samples of tokens.jsonl are in {data}: export both in one run")
    print(f"{seen} samples have the tokens and labels of our trainer")


@torch.inference_mode()
def check_packing(model, samples):
    """The summed loss of a packed row is that of its samples alone, so they do not see each other."""

    def loss(rows):
        tokens, labels = ([token for row in rows for token in row[key]] for key in ("input_ids", "labels"))
        positions = [i for row in rows for i in range(len(row["input_ids"]))]
        wanted = torch.tensor([IGNORED if i == 0 else label for i, label in zip(positions, labels, strict=True)])
        logits = model(torch.tensor([tokens]), position_ids=torch.tensor([positions]), use_cache=False).logits[0]
        return torch.nn.functional.cross_entropy(logits[:-1].float(), wanted[1:], reduction="sum").item()

    packed, alone = loss(samples), sum(loss([sample]) for sample in samples)
    if abs(packed - alone) > 1e-4 * abs(alone):
        raise SystemExit(f"a packed row has loss {packed}, its samples have {alone}: this transformers mixes samples")
    print(f"a packed row of {len(samples)} samples has their losses: {packed:.3f} and {alone:.3f}")


def settings(options, encoder):
    on_gpu = torch.cuda.is_available() and not options.cpu
    return SFTConfig(
        output_dir=str(options.out / "checkpoints"),
        max_steps=options.steps,
        num_train_epochs=options.epochs,
        learning_rate=options.lr,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": 0.05},
        warmup_steps=options.warmup,
        adam_beta2=0.98,
        weight_decay=0.1,
        max_grad_norm=1.0,
        per_device_train_batch_size=options.rows,
        packing=True,
        packing_strategy="bfd",
        eval_packing=True,
        per_device_eval_batch_size=options.rows,
        max_length=options.row_tokens,
        bf16=on_gpu,
        use_cpu=not on_gpu,
        gradient_checkpointing=False,
        shuffle_dataset=True,
        seed=options.seed,
        logging_steps=options.log_every,
        logging_first_step=True,
        eval_strategy="no",
        save_strategy="steps",
        save_steps=options.save_every,
        save_total_limit=2,
        report_to="none",
        eos_token=END,
        pad_token=PAD if encoder.trusting.token_to_id(PAD) is not None else END,
    )


def save(trainer, options, notes):
    """The folder that our engine reads: weights in half precision, the tokenizer byte for byte, and what was done."""
    out, model = options.out, trainer.accelerator.unwrap_model(trainer.model)
    model.config.use_cache = True  # training turned it off
    model.to(torch.float16).save_pretrained(out)
    shutil.copyfile(options.model / "tokenizer.json", out / "tokenizer.json")
    log = "".join(json.dumps(record) + "\n" for record in trainer.state.log_history)
    (out / "train.jsonl").write_text(log)
    (out / "manifest.json").write_text(json.dumps(notes, indent=2) + "\n")
    print(f"{out}: {trainer.state.global_step} steps")


def train(options, encoder):
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    longest = min(options.row_tokens, model.config.max_position_embeddings)
    samples, n_all, digest = encode_file(encoder, options.data / "sft_train.jsonl", longest)
    if not samples:
        raise SystemExit(f"none of {n_all} samples has at most {longest} tokens: give larger --row-tokens")
    print(f"{len(samples)} of {n_all} samples fit {longest} tokens")
    held_out_file = options.data / "sft_test.jsonl"
    held_out = encode_file(encoder, held_out_file, longest)[0] if held_out_file.exists() else []
    special = {"eos_token": END, "pad_token": PAD if encoder.trusting.token_to_id(PAD) is not None else END}
    trainer = SFTTrainer(
        model=model,
        args=settings(options, encoder),
        train_dataset=Dataset.from_list(samples),
        eval_dataset=Dataset.from_list(held_out) if held_out else None,
        processing_class=PreTrainedTokenizerFast(tokenizer_file=str(options.model / "tokenizer.json"), **special),
    )
    trainer.train(resume_from_checkpoint=options.resume)
    if held_out:
        trainer.evaluate()
    started_from = options.model / "manifest.json"
    notes = {
        "trained_with": f"trl {trl.__version__}, transformers {transformers.__version__}, torch {torch.__version__}",
        "settings": {key: value for key, value in vars(options).items() if not isinstance(value, Path)},
        "samples": len(samples),
        "tokens": sum(len(sample["input_ids"]) for sample in samples),
        "target_tokens": sum(label != IGNORED for sample in samples for label in sample["labels"]),
        "tokens_sha256": digest,
        "continued_from": json.loads(started_from.read_text()) if started_from.exists() else None,
    }
    if trainer.is_world_process_zero():
        save(trainer, options, notes)


def check(options, encoder):
    check_tokens(encoder, options.data)
    samples = encode_file(encoder, options.data / "sft_train.jsonl", options.row_tokens // 4)[0][:4]
    check_packing(AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32).eval(), samples)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", type=Path, required=True, help="the folder that `recgpt export --format trl` wrote")
    arguments.add_argument("--model", type=Path, required=True, help="the folder to start from")
    arguments.add_argument("--out", type=Path, help="the folder to write")
    arguments.add_argument("--check", action="store_true", help="compare tokens and packing with our trainer's, and stop")
    arguments.add_argument("--epochs", type=float, default=1.0)
    arguments.add_argument("--steps", type=int, default=-1, help="optimiser steps, instead of epochs")
    arguments.add_argument("--row-tokens", type=int, default=2048, help="tokens of a packed row")
    arguments.add_argument("--rows", type=int, default=4, help="rows of a step on each device")
    arguments.add_argument("--lr", type=float, default=1.5e-3)
    arguments.add_argument("--warmup", type=int, default=100, help="steps of linear rise")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--log-every", type=int, default=20)
    arguments.add_argument("--save-every", type=int, default=200, help="steps between checkpoints")
    arguments.add_argument("--resume", action="store_true", help="continue from the last checkpoint in OUT")
    arguments.add_argument("--cpu", action="store_true", help="train on the processor even where there is a GPU")
    options = arguments.parse_args()
    encoder = Encoder(options.model / "tokenizer.json")
    if options.check:
        check(options, encoder)
    elif options.out is None:
        arguments.error("--out is needed, unless --check is given")
    else:
        options.out.mkdir(parents=True, exist_ok=True)
        train(options, encoder)


if __name__ == "__main__":
    main()
