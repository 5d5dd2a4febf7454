//! Opens the model that a configuration names.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::engine::{Engine, EngineConfig};
use crate::error::LmError;
use crate::model::LanguageModel;
#[cfg(feature = "http-llm")]
use crate::openai::{OpenAi, OpenAiConfig};

/// Where a language model comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelSource {
    /// The three files of a model, compiled into the program.
    #[serde(skip)]
    Builtin(ModelBytes),
    /// A folder with `config.json`, `tokenizer.json` and `model.safetensors`.
    Folder(PathBuf),
    /// A server.
    #[cfg(feature = "http-llm")]
    OpenAi(OpenAiConfig),
}

/// The bytes of the three files of a model.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ModelBytes {
    /// `config.json`.
    pub config: &'static [u8],
    /// `tokenizer.json`.
    pub tokenizer: &'static [u8],
    /// `model.safetensors`.
    pub weights: &'static [u8],
}

impl std::fmt::Debug for ModelBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ModelBytes({} bytes of weights)", self.weights.len())
    }
}

/// Opens the model. A server is not asked yet; its faults show with the first request.
pub fn open_model(source: &ModelSource) -> Result<Box<dyn LanguageModel>, LmError> {
    match source {
        ModelSource::Builtin(bytes) => {
            let ModelBytes { config, tokenizer, weights } = bytes;
            Ok(Box::new(Engine::from_bytes(config, tokenizer, weights, EngineConfig::STANDARD)?))
        }
        ModelSource::Folder(dir) => Ok(Box::new(Engine::load(dir, EngineConfig::STANDARD)?)),
        #[cfg(feature = "http-llm")]
        ModelSource::OpenAi(config) => Ok(Box::new(OpenAi::new(config.clone())?)),
    }
}

#[cfg(test)]
mod tests {
    use super::{ModelBytes, ModelSource, open_model};
    use crate::checkpoint::save_decoder;
    use crate::model::{LanguageModel, Prompt, Request};
    use crate::testing::{tiny_decoder, tiny_tokenizer_json};

    #[test]
    fn folder_and_bytes_give_the_same_model() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("shop-lm");
        save_decoder(&tiny_decoder(), &dir, nn::Dtype::F32).unwrap();
        std::fs::write(dir.join("tokenizer.json"), tiny_tokenizer_json()).unwrap();
        let read = |file: &str| std::fs::read(dir.join(file)).unwrap().leak();
        let bytes = ModelBytes {
            config: read("config.json"),
            tokenizer: read("tokenizer.json"),
            weights: read("model.safetensors"),
        };
        let folder = open_model(&ModelSource::Folder(dir.clone())).unwrap();
        let builtin = open_model(&ModelSource::Builtin(bytes)).unwrap();
        assert_eq!((folder.name(), builtin.name()), ("shop-lm", "builtin"));
        let ask = |model: &dyn LanguageModel| {
            model.generate(&[Request::greedy(Prompt::user("<|mine|>shoes"), 12)])
        };
        assert_eq!(ask(&*folder), ask(&*builtin));
        assert!(ask(&*folder)[0].is_ok());

        for file in ["config.json", "tokenizer.json", "model.safetensors"] {
            std::fs::rename(dir.join(file), dir.join("aside")).unwrap();
            let error = open_model(&ModelSource::Folder(dir.clone())).err().unwrap().to_string();
            assert!(error.contains(file), "{error} does not name {file}");
            std::fs::rename(dir.join("aside"), dir.join(file)).unwrap();
        }
    }

    #[cfg(feature = "http-llm")]
    #[test]
    fn servers_come_from_configuration() {
        let text = r#"{"open_ai":{"base_url":"http://127.0.0.1:1/v1","model":"qwen3"}}"#;
        let source: ModelSource = serde_json::from_str(text).unwrap();
        assert_eq!(open_model(&source).unwrap().name(), "openai:qwen3");
    }
}
