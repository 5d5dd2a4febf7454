//! The configuration of a decoder, in the field names of a Hugging Face `config.json` of Qwen3 or Llama.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rope_scaling::RopeScaling;
use crate::error::LmError;

/// Shape and constants of a decoder; other fields of a `config.json` are not read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecoderConfig {
    /// `["Qwen3ForCausalLM"]` or `["LlamaForCausalLM"]`.
    #[serde(default = "default_architectures")]
    pub architectures: Vec<String>,
    /// `qwen3`, or `llama`, which has no norm on the heads of queries and keys.
    #[serde(default = "default_model_type")]
    pub model_type: String,
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// Numbers in the residual stream.
    pub hidden_size: usize,
    /// Numbers inside the SwiGLU of a block.
    pub intermediate_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Heads of queries.
    pub num_attention_heads: usize,
    /// Heads of keys and values.
    pub num_key_value_heads: usize,
    /// Numbers in a head; need not be `hidden_size / num_attention_heads`.
    pub head_dim: usize,
    /// Tokens in the context window.
    pub max_position_embeddings: usize,
    /// Added to the mean square in every norm.
    pub rms_norm_eps: f32,
    /// Base of the rotary wavelengths.
    pub rope_theta: f64,
    /// How the rotary wavelengths are stretched.
    #[serde(default = "default_scaling", skip_serializing_if = "is_default")]
    pub rope_scaling: RopeScaling,
    /// Whether the output head is the embedding table.
    #[serde(default = "default_tied")]
    pub tie_word_embeddings: bool,
    /// Only `silu` is known.
    #[serde(default = "default_act")]
    pub hidden_act: String,
    /// Only `false` is known.
    #[serde(default)]
    pub attention_bias: bool,
    /// Number of the token that begins a text, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bos_token_id: Option<u32>,
    /// Number of the token that ends a text, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eos_token_id: Option<u32>,
}

/// Largest size of any kind, and most layers: what is beyond is a fault of the file, and must not be
/// allocated.
const LARGEST: usize = 1 << 27;
const MOST_LAYERS: usize = 1 << 12;

impl DecoderConfig {
    /// Reads a `config.json`, also where it leaves out what follows from the rest, and where its rotary
    /// settings lie together in `rope_parameters` (transformers 5).
    ///
    /// # Errors
    /// [`LmError::BadModel`] when it is no JSON object of a decoder, or one that is not computed here.
    pub fn from_json(json: &[u8]) -> Result<Self, LmError> {
        let mend = "give the config.json of a Qwen3 or Llama model";
        let unfit = |e: &dyn std::fmt::Display| bad(e.to_string(), mend);
        let mut value: Value = serde_json::from_slice(json).map_err(|e| unfit(&e))?;
        refuse_what_is_not_computed(&value)?;
        if value["head_dim"].is_null()
            && let (Some(hidden), Some(heads @ 1..)) =
                (value["hidden_size"].as_u64(), value["num_attention_heads"].as_u64())
        {
            value["head_dim"] = (hidden / heads).into();
        }
        if value["num_key_value_heads"].is_null()
            && let heads @ Value::Number(_) = value["num_attention_heads"].clone()
        {
            value["num_key_value_heads"] = heads;
        }
        let mut rope = [&value["rope_parameters"], &value["rope_scaling"]]
            .into_iter()
            .find(|rope| rope.is_object())
            .cloned()
            .unwrap_or_else(|| serde_json::json!({}));
        if rope["rope_type"].is_null() {
            rope["rope_type"] =
                if rope["type"].is_string() { rope["type"].clone() } else { "default".into() };
        }
        if value["rope_theta"].is_null() {
            value["rope_theta"] = rope["rope_theta"].as_f64().unwrap_or(10_000.0).into();
        }
        if rope["original_max_position_embeddings"].is_null() {
            rope["original_max_position_embeddings"] = value["max_position_embeddings"].clone();
        }
        value["rope_scaling"] = rope;
        // Llama 3 names several tokens that end a text; the tokenizer knows them all.
        for id in ["bos_token_id", "eos_token_id"] {
            if let Some(first) = value[id].as_array().and_then(|ids| ids.first()).cloned() {
                value[id] = first;
            }
        }
        let config: Self = serde_json::from_value(value).map_err(|e| unfit(&e))?;
        config.check()?;
        Ok(config)
    }

    /// A Qwen3 of the shape of the built-in model, with embeddings tied.
    pub fn builtin(vocab_size: usize) -> Self {
        Self {
            architectures: default_architectures(),
            model_type: default_model_type(),
            vocab_size,
            hidden_size: 256,
            intermediate_size: 512,
            num_hidden_layers: 4,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 64,
            max_position_embeddings: 1024,
            rms_norm_eps: 1e-6,
            rope_theta: 10_000.0,
            rope_scaling: RopeScaling::Default,
            tie_word_embeddings: true,
            hidden_act: default_act(),
            attention_bias: false,
            bos_token_id: None,
            eos_token_id: None,
        }
    }

    #[cfg(test)]
    pub(crate) fn tiny() -> Self {
        Self {
            hidden_size: 12,
            intermediate_size: 20,
            num_hidden_layers: 2,
            head_dim: 6,
            max_position_embeddings: 200,
            rope_theta: 100.0,
            ..Self::builtin(23)
        }
    }

    /// The shape of the attention.
    pub fn attention(&self) -> nn::AttentionShape {
        nn::AttentionShape {
            n_heads: self.num_attention_heads,
            n_kv_heads: self.num_key_value_heads,
            head_dim: self.head_dim,
        }
    }

    /// Whether each head of queries and keys has a norm.
    pub fn has_head_norms(&self) -> bool {
        self.model_type == "qwen3"
    }

    /// Cosines and sines of the first `n_positions` positions.
    pub(super) fn rope(&self, n_positions: usize) -> nn::RopeTable {
        self.rope_scaling.table(self.rope_theta, self.head_dim, n_positions)
    }

    /// Width of all query heads.
    pub fn q_width(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    /// Width of all key (or value) heads.
    pub fn kv_width(&self) -> usize {
        self.num_key_value_heads * self.head_dim
    }

    /// Refuses what this decoder does not compute.
    ///
    /// # Errors
    /// [`LmError::BadModel`] naming the field.
    pub fn check(&self) -> Result<(), LmError> {
        let known = "the built-in engine runs dense Qwen3 and Llama models without biases";
        if !["qwen3", "llama"].contains(&self.model_type.as_str()) {
            let problem =
                format!("model_type is {:?}, not \"qwen3\" or \"llama\"", self.model_type);
            return Err(bad(problem, known));
        }
        if self.hidden_act != "silu" {
            return Err(bad(format!("hidden_act is {:?}, not \"silu\"", self.hidden_act), known));
        }
        if self.attention_bias {
            return Err(bad("attention_bias is true".to_owned(), known));
        }
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        if let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return Err(bad(format!("{name} is 0"), "give it a positive size"));
        }
        let beyond = |name: &str| bad(format!("{name} is beyond any known model"), "correct it");
        if let Some((name, _)) = sizes.iter().find(|(_, size)| *size > LARGEST) {
            return Err(beyond(name));
        }
        if self.num_hidden_layers > MOST_LAYERS {
            return Err(beyond("num_hidden_layers"));
        }
        self.rope_scaling.check()?;
        let (heads, kv_heads) = (self.num_attention_heads, self.num_key_value_heads);
        if !heads.is_multiple_of(kv_heads) {
            let problem = format!("{heads} heads do not share {kv_heads} key-value heads evenly");
            return Err(bad(problem, "make num_attention_heads a multiple"));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(bad(format!("head_dim is {}", self.head_dim), "make it even"));
        }
        Ok(())
    }
}

/// Settings that change what a model computes and that [`DecoderConfig`] has no field for.
fn refuse_what_is_not_computed(value: &Value) -> Result<(), LmError> {
    let window = value["layer_types"]
        .as_array()
        .is_some_and(|layers| layers.iter().any(|layer| layer != "full_attention"));
    let problem = if value["mlp_bias"] == true {
        "mlp_bias is true"
    } else if window || value["use_sliding_window"] == true {
        "it attends through a sliding window"
    } else {
        return Ok(());
    };
    Err(bad(
        problem.to_owned(),
        "the built-in engine runs dense Qwen3 and Llama models without biases",
    ))
}

/// An error of the configuration file.
pub(crate) fn bad(problem: String, mend: &str) -> LmError {
    LmError::BadModel { path: PathBuf::from("config.json"), problem, mend: mend.to_owned() }
}

fn default_architectures() -> Vec<String> {
    vec!["Qwen3ForCausalLM".to_owned()]
}

fn default_model_type() -> String {
    "qwen3".to_owned()
}

fn default_scaling() -> RopeScaling {
    RopeScaling::Default
}

fn is_default(scaling: &RopeScaling) -> bool {
    *scaling == RopeScaling::Default
}

fn default_act() -> String {
    "silu".to_owned()
}

fn default_tied() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_computed_is_named() {
        let check = |change: &dyn Fn(&mut DecoderConfig), expect: &str| {
            let mut config = DecoderConfig::tiny();
            change(&mut config);
            let text = config.check().unwrap_err().to_string();
            assert!(text.contains(expect), "{expect:?} is missing in {text:?}");
        };
        DecoderConfig::tiny().check().unwrap();
        check(&|c| c.model_type = "gpt2".to_owned(), "gpt2");
        check(&|c| c.hidden_act = "gelu".to_owned(), "gelu");
        check(&|c| c.attention_bias = true, "attention_bias");
        check(&|c| c.hidden_size = 0, "hidden_size is 0");
        check(&|c| c.num_key_value_heads = 3, "4 heads do not share 3");
        check(&|c| c.head_dim = 5, "head_dim is 5");
        check(&|c| c.hidden_size = usize::MAX, "hidden_size is beyond");
        check(&|c| c.num_hidden_layers = 1 << 40, "num_hidden_layers is beyond");
        check(&|c| c.rope_scaling = RopeScaling::Linear { factor: 0.0 }, "factor is 0");
    }

    #[test]
    fn a_public_config_is_read() {
        let json = r#"{"architectures":["Qwen3ForCausalLM"],"attention_bias":false,
            "attention_dropout":0.0,"bos_token_id":151643,"eos_token_id":151645,"head_dim":128,
            "hidden_act":"silu","hidden_size":1024,"intermediate_size":3072,
            "max_position_embeddings":40960,"max_window_layers":28,"model_type":"qwen3",
            "num_attention_heads":16,"num_hidden_layers":28,"num_key_value_heads":8,
            "rms_norm_eps":1e-06,"rope_scaling":null,"rope_theta":1000000,
            "tie_word_embeddings":true,"torch_dtype":"bfloat16","vocab_size":151936}"#;
        let config = DecoderConfig::from_json(json.as_bytes()).unwrap();
        assert_eq!((config.q_width(), config.kv_width()), (2048, 1024));
        assert_eq!(config.rope_scaling, RopeScaling::Default);
        // What was read is written in a form that is read again.
        let again = serde_json::to_vec(&config).unwrap();
        assert_eq!(DecoderConfig::from_json(&again).unwrap(), config);
    }

    #[test]
    fn both_spellings_of_the_rotary_settings_are_read() {
        let llama = |rope: &str| {
            let json = format!(
                r#"{{"model_type":"llama","hidden_size":64,"intermediate_size":96,"vocab_size":50,
                "num_hidden_layers":1,"num_attention_heads":4,"max_position_embeddings":4096,
                "rms_norm_eps":1e-5,"eos_token_id":[7,8],{rope}}}"#
            );
            DecoderConfig::from_json(json.as_bytes())
        };
        let old = llama(r#""rope_theta":5e5,"rope_scaling":{"type":"linear","factor":2.0}"#);
        let new =
            llama(r#""rope_parameters":{"rope_theta":5e5,"rope_type":"linear","factor":2.0}"#);
        let (old, new) = (old.unwrap(), new.unwrap());
        assert_eq!(old, new);
        assert_eq!((old.head_dim, old.num_key_value_heads, old.eos_token_id), (16, 4, Some(7)));
        assert_eq!(old.rope_scaling, RopeScaling::Linear { factor: 2.0 });
        let error = llama(r#""rope_scaling":{"rope_type":"longrope","factor":4.0}"#).unwrap_err();
        assert!(error.to_string().contains("longrope"), "{error}");
        let error = llama(r#""mlp_bias":true"#).unwrap_err();
        assert!(error.to_string().contains("mlp_bias"), "{error}");
    }
}
