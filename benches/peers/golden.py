"""Makes the golden files that the tests of the `lm` crate compare the engine with.

    pip install torch transformers safetensors jinja2
    python benches/peers/golden.py crates/lm/tests/golden

Every folder OUT_DIR/<case>/ holds a tiny random checkpoint (config.json, safetensors) and golden.json: `tokens`,
`logits` (one row for every position of `tokens`) and `greedy`, the 24 tokens that continue them. The logits are those
of transformers in float32 from the weights as stored. Weights are drawn until no choice on the greedy path is close, so
an engine that computes in another order must still give the same tokens.

OUT_DIR/chat/cases.json holds chat templates, what they are given, and the text that transformers renders.
templates/qwen3.jinja is Qwen3's own (Apache-2.0, as llama.cpp has it), templates/llama3.jinja is the one of
llama-cpp-python (MIT), templates/llama31_style.jinja is ours, with the constructs of Llama 3.1.
"""

import argparse
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils.chat_template_utils import render_jinja_template

GREEDY_TOKENS = 24
SMALLEST_MARGIN = 0.02
FEWEST_DISTINCT = 10
EOS = 0
E4M3_MAX = 448.0

BASE = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "attention_bias": False,
    "bos_token_id": 1,
    "eos_token_id": EOS,
}
QWEN3 = BASE | {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 16}
LLAMA = BASE | {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "mlp_bias": False}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN_ROPE = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
FP8_QUANTIZATION = {
    "quant_method": "compressed-tensors",
    "format": "float-quantized",
    "quantization_status": "compressed",
    "ignore": ["lm_head"],
    "kv_cache_scheme": None,
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "input_activations": None,
            "output_activations": None,
            "weights": {
                "num_bits": 8,
                "type": "float",
                "strategy": "channel",
                "symmetric": True,
                "dynamic": False,
                "group_size": None,
                "block_structure": None,
            },
        }
    },
}


@dataclass
class Case:
    """One checkpoint: its configuration as published files have it, and how the weights are stored."""

    config: dict
    dtype: torch.dtype = torch.float32
    positions: int = 24
    shard_size: str = "1GB"
    fp8: bool = False
    as_transformers_5_writes: bool = False  # `rope_parameters` and `dtype` for `rope_theta` and `torch_dtype`
    extra: dict = field(default_factory=dict)  # keys for config.json that transformers is not to see


CASES = {
    "qwen3": Case(QWEN3 | {"tie_word_embeddings": True}),
    "qwen3_untied_bf16_sharded": Case(
        QWEN3 | {"tie_word_embeddings": False, "rope_theta": 500.0},
        dtype=torch.bfloat16,
        shard_size="16KB",
        as_transformers_5_writes=True,
    ),
    "llama": Case(LLAMA | {"tie_word_embeddings": False}),
    "llama_rope_llama3": Case(
        LLAMA | {"tie_word_embeddings": False, "head_dim": 16, "rope_scaling": LLAMA3_ROPE},
        positions=40,
    ),
    "llama_rope_linear": Case(
        LLAMA | {"tie_word_embeddings": False, "rope_scaling": {"type": "linear", "factor": 2.0}},
        dtype=torch.float16,
    ),
    "qwen3_yarn": Case(QWEN3 | {"tie_word_embeddings": True, "rope_scaling": YARN_ROPE}, positions=40),
    "qwen3_fp8": Case(
        QWEN3 | {"tie_word_embeddings": True},
        dtype=torch.bfloat16,
        fp8=True,
        extra={"quantization_config": FP8_QUANTIZATION},
    ),
}


def draw_weights(model, seed):
    random = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        noise = torch.randn(weight.shape, generator=random)
        weight.data = (noise * 0.3 if weight.ndim == 2 else 1 + noise * 0.2).to(weight.dtype)


def quantize_linear_layers(weights):
    """The tensors of a compressed-tensors file: F8_E4M3 weights with one scale for every output channel."""
    stored = {}
    for name, weight in weights.items():
        if not name.endswith("_proj.weight"):
            stored[name] = weight
            continue
        scale = (weight.float().abs().amax(dim=1, keepdim=True) / E4M3_MAX).to(weight.dtype)
        stored[name] = (weight.float() / scale.float()).clamp(-E4M3_MAX, E4M3_MAX).to(torch.float8_e4m3fn)
        stored[f"{name}_scale"] = scale
    return stored


def read_weights(folder):
    """The stored weights in float32, with the scales multiplied in."""
    stored = {}
    for file in sorted(folder.glob("*.safetensors")):
        stored |= load_file(file)
    weights = {name: tensor.float() for name, tensor in stored.items()}
    return {
        name: weight * weights.get(f"{name}_scale", 1.0)
        for name, weight in weights.items()
        if not name.endswith("_scale")
    }


def write_checkpoint(case, seed, folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config_file = folder / "config.json"
    config_file.write_text(json.dumps(case.config))
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder)).to(case.dtype)
    model.tie_weights()
    draw_weights(model, seed)
    model.save_pretrained(folder, max_shard_size=case.shard_size)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if not case.as_transformers_5_writes:
        torch_dtype = {"torch_dtype": str(case.dtype).removeprefix("torch.")}
        config_file.write_text(json.dumps(case.config | torch_dtype | case.extra, indent=2) + "\n")
    if case.fp8:
        file = folder / "model.safetensors"
        save_file(quantize_linear_layers(load_file(file)), file, metadata={"format": "pt"})


def load_for_reference(case, folder):
    """The stored model in float32; transformers must not see keys that need a package for quantized weights."""
    config = AutoConfig.from_pretrained(folder)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    missing, unexpected = model.load_state_dict(read_weights(folder), strict=False)
    tied = ["lm_head.weight"] if case.config["tie_word_embeddings"] else []
    assert missing == tied and not unexpected, (missing, unexpected)
    model.tie_weights()
    return model.eval()


@torch.inference_mode()
def run_reference(model, tokens):
    """The logits of all positions, the greedy continuation, and the smallest lead of a greedy token over the next."""
    logits = model(torch.tensor([tokens])).logits[0]
    greedy, margin = [], float("inf")
    for _ in range(GREEDY_TOKENS):
        last = model(torch.tensor([tokens + greedy])).logits[0, -1]
        best, second = last.topk(2).values.tolist()
        margin = min(margin, best - second)
        greedy.append(int(last.argmax()))
    return logits, greedy, margin


def write_golden(file, tokens, logits, greedy):
    rows = ",\n".join(json.dumps([round(x, 6) for x in row], separators=(",", ":")) for row in logits.tolist())
    file.write_text(f'{{"tokens":{json.dumps(tokens)},\n"greedy":{json.dumps(greedy)},\n"logits":[\n{rows}\n]}}\n')


def make_checkpoint(case, folder):
    for seed in range(1000):
        write_checkpoint(case, seed, folder)
        random = torch.Generator().manual_seed(seed)
        tokens = torch.randint(2, case.config["vocab_size"], (case.positions,), generator=random).tolist()
        logits, greedy, margin = run_reference(load_for_reference(case, folder), tokens)
        if margin > SMALLEST_MARGIN and len(set(greedy)) >= FEWEST_DISTINCT and EOS not in greedy:
            write_golden(folder / "golden.json", tokens, logits, greedy)
            size = sum(file.stat().st_size for file in folder.iterdir())
            distinct = len(set(greedy))
            print(f"{folder.name}: seed {seed}, margin {margin:.3f}, {distinct} distinct, {size / 1024:.0f} KiB")
            return
    raise SystemExit(f"{folder.name}: no seed gives a greedy path without a close choice")


def message(role, content, **more):
    return {"role": role, "content": content} | more


USER = [message("user", "Which boots keep feet dry?")]
SYSTEM = [message("system", "You are terse."), *USER]
TURNS = [
    *SYSTEM,
    message("assistant", "Waterproof ones."),
    message("user", "And on ice?"),
    message("assistant", "Ones with spikes."),
    message("user", "Thanks. A brand?"),
]
WHITESPACE = [
    message("system", "  Mind the gaps. \n"),
    message("user", "\n\n  two lines\n\tand a tab  \n"),
    message("assistant", "\n answer \n\n"),
    message("user", " again "),
]
UNICODE = [
    message("system", "Réponds en français, s'il te plaît."),
    message("user", "推荐一双防水登山鞋 🥾 – «naïve» <b>&amp;</b> \"double\" 'single' {{ x }} {% x %}"),
    message("assistant", "Bien sûr : «Größe 42» 👩🏽‍🚀"),
    message("user", "Ещё одну?"),
]
THINKING = [
    *USER,
    message("assistant", "<think>\nDry feet need a membrane.\n</think>\n\nWaterproof ones."),
    message("user", "Why?"),
]
ENDS_WITH_ANSWER = [*USER, message("assistant", "<think>\nA membrane.\n</think>\n\nWaterproof ones.")]
REASONING_FIELD = [*USER, message("assistant", "Waterproof ones.", reasoning_content="\nA membrane.\n")]
EMPTY_CONTENT = [message("system", ""), message("user", "")]
TOOL = {
    "type": "function",
    "function": {
        "name": "find_items",
        "description": 'Finds items <by> tag & price, e.g. "Größe 42".',
        "parameters": {"type": "object", "properties": {"tag": {"type": "string"}}, "required": ["tag"]},
    },
}
TOOL_CALL = {"type": "function", "function": {"name": "find_items", "arguments": {"tag": "防水 boots", "limit": 3}}}
TOOL_TURNS = [
    *SYSTEM,
    message("assistant", "", tool_calls=[TOOL_CALL]),
    message("tool", '{"items": [1, 2]}'),
]

EVERY_TEMPLATE = [
    ("user", USER, {}),
    ("user without generation prompt", USER, {"add_generation_prompt": False}),
    ("system", SYSTEM, {}),
    ("turns", TURNS, {}),
    ("whitespace", WHITESPACE, {}),
    ("unicode", UNICODE, {}),
    ("empty content", EMPTY_CONTENT, {}),
]
QWEN3_ONLY = [
    ("no thinking", SYSTEM, {"enable_thinking": False}),
    ("thinking", SYSTEM, {"enable_thinking": True}),
    ("earlier thoughts", THINKING, {"enable_thinking": False}),
    ("ends with answer", ENDS_WITH_ANSWER, {"add_generation_prompt": False}),
    ("reasoning field", REASONING_FIELD, {"add_generation_prompt": False}),
    ("tools", TOOL_TURNS, {"tools": [TOOL]}),
]
LLAMA31_ONLY = [
    ("date", SYSTEM, {"date_string": "01 Feb 2025"}),
    ("tools", TOOL_TURNS, {"tools": [TOOL], "date_string": "01 Feb 2025"}),
]
QWEN3_VARIABLES = {"bos_token": None, "eos_token": "<|im_end|>"}
LLAMA3_VARIABLES = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
CHATS = {
    "qwen3": (QWEN3_VARIABLES, EVERY_TEMPLATE + QWEN3_ONLY),
    "llama3": (LLAMA3_VARIABLES, EVERY_TEMPLATE),
    # Without a date the template asks the clock.
    "llama31_style": (LLAMA3_VARIABLES | {"date_string": "26 Jul 2024"}, EVERY_TEMPLATE + LLAMA31_ONLY),
}


def make_chats(folder):
    cases = []
    for template_name, (variables, chats) in CHATS.items():
        template = (Path(__file__).parent / "templates" / f"{template_name}.jinja").read_text()
        for name, messages, more in chats:
            context = {"messages": messages, "add_generation_prompt": True} | variables | more
            options = {key: value for key, value in context.items() if key != "messages"}
            [expected], _ = render_jinja_template([messages], chat_template=template, **options)
            name = f"{template_name}: {name}"
            cases.append({"name": name, "template": template, "context": context, "expected": expected})
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "cases.json"
    file.write_text(json.dumps(cases, ensure_ascii=False, indent=1) + "\n")
    print(f"chat: {len(cases)} cases, {file.stat().st_size / 1024:.0f} KiB")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("out_dir", type=Path)
    out_dir = arguments.parse_args().out_dir
    for name, case in CASES.items():
        make_checkpoint(case, out_dir / name)
    make_chats(out_dir / "chat")


if __name__ == "__main__":
    main()
