"""Converts one of our Hugging Face folders (Qwen3, byte-level BPE) to GGUF, for llama.cpp.

    pip install gguf safetensors torch
    python benches/peers/to_gguf.py models/builtin builtin-q8_0.gguf --type q8_0
"""

import argparse
import json
from pathlib import Path

import gguf
from gguf.quants import quantize
from safetensors.torch import load_file

FILE_TYPES = {
    "f32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    "f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}
# llama.cpp's name for "every digit alone, then GPT-2's expression", which is what our tokenizer.json says.
PRE_TOKENIZER = "smollm"


def add_config(writer, config):
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_freq_base(config.get("rope_theta") or config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])


def add_tokenizer(writer, tokenizer, config):
    ids = dict(tokenizer["model"]["vocab"])
    ids |= {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    special = {token["id"] for token in tokenizer["added_tokens"] if token["special"]}
    tokens = [f"[UNUSED{i}]" for i in range(config["vocab_size"])]
    types = [gguf.TokenType.UNUSED] * len(tokens)
    for token, i in ids.items():
        tokens[i] = token
        types[i] = gguf.TokenType.CONTROL if i in special else gguf.TokenType.NORMAL
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["model"]["merges"]]
    eos = config.get("eos_token_id")
    eos = tokens.index("<|endoftext|>") if eos is None else eos
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_TOKENIZER)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(eos)
    bos = config.get("bos_token_id")
    writer.add_bos_token_id(eos if bos is None else bos)
    writer.add_add_bos_token(False)
    # Our models read the texts as they are.
    writer.add_chat_template("{% for message in messages %}{{ message.content }}{% endfor %}")


def add_tensors(writer, folder, layers, tensor_type):
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, layers)
    for file in sorted(folder.glob("*.safetensors")):
        for name, tensor in load_file(file).items():
            values = tensor.float().numpy()
            stored = tensor_type if values.ndim == 2 else gguf.GGMLQuantizationType.F32
            writer.add_tensor(
                names.get_name(name, try_suffixes=(".weight",)),
                quantize(values, stored),
                raw_dtype=stored,
            )


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--type", choices=FILE_TYPES, default="f16")
    given = arguments.parse_args()
    config = json.loads((given.folder / "config.json").read_text())
    tokenizer = json.loads((given.folder / "tokenizer.json").read_text())
    tensor_type, file_type = FILE_TYPES[given.type]
    writer = gguf.GGUFWriter(given.out, "qwen3")
    writer.add_name(given.folder.resolve().name)
    writer.add_file_type(file_type)
    add_config(writer, config)
    add_tokenizer(writer, tokenizer, config)
    add_tensors(writer, given.folder, config["num_hidden_layers"], tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
