"""Files of `recgpt export` in the hands of their readers: python load_exports.py DIR TOKENIZER_JSON

DIR holds a folder for each format: trl, llamafactory, verl, roll. All files are loaded with `datasets`; TRL takes one
step of SFTTrainer on the messages and one of DPOTrainer on the preferences, with a tiny random Qwen3 on the processor.
Prints one line when all holds.
"""

import json
import sys
import tempfile
from pathlib import Path

import torch
import trl
from datasets import load_dataset
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

# The terse form: turns as they are, an end after every answer; TRL takes the loss from the generation markers.
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|endoftext|>"
    "{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}"
)
COMMON = {
    "max_steps": 1,
    "per_device_train_batch_size": 2,
    "max_length": 512,
    "use_cpu": True,
    "bf16": False,
    "report_to": "none",
    "save_strategy": "no",
    "gradient_checkpointing": False,
}


def rows(file):
    kind = {".jsonl": "json", ".parquet": "parquet"}[file.suffix]
    return load_dataset(kind, data_files=str(file), split="train")


def tiny_model(tokenizer):
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        tie_word_embeddings=True,
    )
    return Qwen3ForCausalLM(config)


def check_trl(folder, tokenizer):
    sft, pairs, rl = (rows(folder / f"{kind}_train.jsonl") for kind in ("sft", "preference", "rl"))
    assert trl.is_conversational(sft[0]) and trl.is_conversational(pairs[0]) and trl.is_conversational(rl[0])
    with tempfile.TemporaryDirectory() as out:
        settings = trl.SFTConfig(output_dir=out, assistant_only_loss=True, **COMMON)
        trainer = trl.SFTTrainer(
            tiny_model(tokenizer), args=settings, train_dataset=sft, processing_class=tokenizer
        )
        prepared = trainer.train_dataset[0]
        learned = tokenizer.decode([label for label in prepared["labels"] if label != -100])
        answers = [m["content"] + "<|endoftext|>" for m in sft[0]["messages"] if m["role"] == "assistant"]
        assert "".join(answers).startswith(learned) and learned, (learned, answers)
        loss = trainer.train().training_loss
        assert 0 < loss < 20, loss
        settings = trl.DPOConfig(output_dir=out, **COMMON)
        trainer = trl.DPOTrainer(
            tiny_model(tokenizer),
            ref_model=tiny_model(tokenizer),
            args=settings,
            train_dataset=pairs,
            processing_class=tokenizer,
        )
        loss = trainer.train().training_loss
        assert abs(loss - 0.6931) < 0.01, f"the first step of DPO has loss ln 2, not {loss}"


def check_llamafactory(folder):
    info = json.loads((folder / "dataset_info.json").read_text())
    assert {"recgpt_sft_train", "recgpt_preference_train"} <= info.keys(), info.keys()
    for entry in info.values():
        tags, columns = entry["tags"], entry["columns"]
        for row in rows(folder / entry["file_name"]):
            messages = row[columns["messages"]]
            if messages[0][tags["role_tag"]] == tags["system_tag"]:
                messages = messages[1:]
            # As its converter demands: turns alternate, and their number is odd only where answers are ranked.
            roles = [message[tags["role_tag"]] for message in messages]
            assert roles == ([tags["user_tag"], tags["assistant_tag"]] * len(roles))[: len(roles)], roles
            assert len(roles) % 2 == entry.get("ranking", False), roles
            if entry.get("ranking"):
                for answer in (row[columns["chosen"]], row[columns["rejected"]]):
                    assert answer[tags["role_tag"]] == tags["assistant_tag"], answer


def check_verl(folder):
    import pandas

    messages = pandas.read_parquet(folder / "sft_train.parquet")["messages"]  # as its datasets read
    assert all(set(message) == {"role", "content"} for message in messages[0]), messages[0]
    problem = rows(folder / "rl_train.parquet")[0]
    assert {"data_source", "prompt", "ability", "reward_model", "extra_info"} == problem.keys(), problem
    assert problem["reward_model"]["ground_truth"] and problem["prompt"][-1]["role"] == "user", problem
    assert problem["extra_info"]["index"] == 0, problem


def check_roll(folder):
    assert {"instruction", "output", "system"} <= rows(folder / "sft_train.jsonl")[0].keys()
    assert {"instruction", "chosen", "rejected"} <= rows(folder / "preference_train.jsonl")[0].keys()
    problem = rows(folder / "rl_train.jsonl")[0]
    assert json.loads(problem["messages"])[-1]["role"] == "user" and problem["ground_truth"], problem


def main(folder, tokenizer_file):
    folder = Path(folder)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=tokenizer_file, eos_token="<|endoftext|>", pad_token="<|pad|>", chat_template=TEMPLATE
    )
    check_trl(folder / "trl", tokenizer)
    check_llamafactory(folder / "llamafactory")
    check_verl(folder / "verl")
    check_roll(folder / "roll")
    print(f"trl {trl.__version__}: all holds")


if __name__ == "__main__":
    main(*sys.argv[1:])
