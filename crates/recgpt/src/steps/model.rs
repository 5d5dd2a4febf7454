//! Which language model answers: the built-in one, as fitted to the shop where that was done, or a
//! server.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use events::DigestConfig;
use intent::Lang;
use lm::{
    Decoder, Engine, EngineConfig, LanguageModel, OpenAi, OpenAiConfig, Tokenizer, load_decoder,
    load_decoder_bytes, write_whole,
};
use types::Timestamp;
use xxhash_rust::xxh3::xxh3_64;

use super::Context;
use crate::failure::Usage;
use crate::machine::secret;
use crate::settings::{LmSettings, ServerSettings};

const CONFIG: &[u8] = include_bytes!("../../../../models/builtin/config.json");
const TOKENIZER: &[u8] = include_bytes!("../../../../models/builtin/tokenizer.json");
const WEIGHTS: &[u8] = include_bytes!("../../../../models/builtin/model.safetensors");

const MANIFEST: &[u8] = include_bytes!("../../../../models/builtin/manifest.json");

const SCORECARD: &[u8] = include_bytes!("../../../../models/builtin/scorecard.json");

/// The figures that were measured when the built-in weights were made: those of their stages cannot be
/// measured on the last one.
pub(crate) fn recorded_figures() -> Result<serde_json::Map<String, serde_json::Value>> {
    #[derive(serde::Deserialize)]
    struct Recorded {
        figures: serde_json::Map<String, serde_json::Value>,
    }
    let recorded: Recorded = serde_json::from_slice(SCORECARD).context("the built-in scorecard")?;
    Ok(recorded.figures)
}

/// Where a model fitted to the shop lies.
pub(crate) const FITTED: &str = "models/lm";

/// The model that is compiled into the program.
pub(crate) fn builtin(config: EngineConfig) -> Result<Engine> {
    Engine::from_bytes(CONFIG, TOKENIZER, WEIGHTS, config).context("reading the built-in model")
}

/// Whether the built-in weights were trained on samples of a task, as their manifest says.
pub(crate) fn builtin_has_learnt(task: &str) -> bool {
    String::from_utf8_lossy(MANIFEST).contains(&format!("\"{task}\":"))
}

/// Writes the three files of the built-in model into a folder.
pub(crate) fn builtin_folder(dir: &Path) -> Result<()> {
    let files =
        [("config.json", CONFIG), ("tokenizer.json", TOKENIZER), ("model.safetensors", WEIGHTS)];
    for (name, bytes) in files {
        write_whole(&dir.join(name), bytes)?;
    }
    Ok(())
}

/// Its decoder, to be trained further.
pub(crate) fn builtin_decoder() -> Result<Decoder> {
    Ok(load_decoder_bytes(CONFIG, WEIGHTS)?)
}

/// The built-in model's tokenizer.
pub(crate) fn builtin_tokenizer() -> Result<Tokenizer> {
    Ok(Tokenizer::from_bytes(TOKENIZER)?)
}

/// A hash of the built-in weights: results of other weights are not taken for theirs.
pub(crate) fn builtin_hash() -> u64 {
    xxh3_64(WEIGHTS)
}

/// The bytes of the built-in tokenizer, for a model folder that is written anew.
pub(crate) fn builtin_tokenizer_json() -> &'static [u8] {
    TOKENIZER
}

/// The model that answers now, to be trained further, with its tokenizer and that one's file.
pub(crate) fn trainable(ctx: &Context) -> Result<(Decoder, Tokenizer, Vec<u8>)> {
    let fitted = ctx.ws.path(FITTED);
    if fitted_weights(ctx)?.is_none() {
        return Ok((builtin_decoder()?, builtin_tokenizer()?, TOKENIZER.to_vec()));
    }
    let path = fitted.join("tokenizer.json");
    let json = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok((load_decoder(&fitted)?, Tokenizer::from_bytes(&json)?, json))
}

/// The weights of the model that was fitted to the shop; none where the built-in ones answer.
pub(crate) fn fitted_weights(ctx: &Context) -> Result<Option<Vec<u8>>> {
    let path = ctx.ws.path(FITTED).join("model.safetensors");
    match std::fs::read(&path) {
        Ok(weights) => Ok(Some(weights)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| format!("reading {}", path.display())),
    }
}

/// A hash of the fitted weights, where the settings use them and they are not the built-in ones:
/// whatever they answer depends on it.
pub(crate) fn fitted_hash(ctx: &Context) -> Result<Option<u64>> {
    let LmSettings::Builtin { .. } = &ctx.settings.lm else { return Ok(None) };
    let hash = fitted_weights(ctx)?.map(|weights| xxh3_64(&weights));
    Ok(hash.filter(|hash| *hash != builtin_hash()))
}

/// The model that the settings name.
pub(crate) fn open(ctx: &Context) -> Result<Box<dyn LanguageModel>> {
    match &ctx.settings.lm {
        LmSettings::Builtin { engine, .. } => {
            let fitted = ctx.ws.path(FITTED);
            if fitted.join("model.safetensors").exists() {
                return Ok(Box::new(Engine::load(&fitted, engine.config())?));
            }
            Ok(Box::new(builtin(engine.config())?))
        }
        LmSettings::Folder { path, engine } => Ok(Box::new(Engine::load(path, engine.config())?)),
        LmSettings::Openai(server) => {
            Ok(Box::new(openai(server, "lm", ctx.ws.path("intent/calls"))?))
        }
    }
}

/// The language of prompts in prose.
pub(crate) fn language(ctx: &Context) -> Result<Lang> {
    match &ctx.settings.lm {
        LmSettings::Openai(server) => language_of(server, "lm"),
        LmSettings::Builtin { .. } | LmSettings::Folder { .. } => Ok(Lang::En),
    }
}

/// The language of prompts in prose to a server; `section` is where its settings stand.
pub(crate) fn language_of(server: &ServerSettings, section: &str) -> Result<Lang> {
    match server.language.as_str() {
        "en" => Ok(Lang::En),
        "zh" => Ok(Lang::Zh),
        other => {
            Err(anyhow!(Usage(format!("{section}.language is {other:?}; use \"en\" or \"zh\""))))
        }
    }
}

/// Tokens of the digest in a prompt: small for models that run here, whole for a server.
pub(crate) fn prompt_budget(ctx: &Context) -> usize {
    match ctx.settings.lm {
        LmSettings::Builtin { .. } | LmSettings::Folder { .. } => {
            ctx.settings.digest.builtin_budget
        }
        LmSettings::Openai(_) => ctx.settings.digest.budget,
    }
}

/// How the digest of a prompt for the model of the settings is made.
pub(crate) fn prompt_config(ctx: &Context, now: Timestamp) -> DigestConfig {
    let config = DigestConfig::new(now, prompt_budget(ctx));
    match ctx.settings.lm {
        LmSettings::Builtin { .. } | LmSettings::Folder { .. } => config,
        LmSettings::Openai(_) => {
            let digest = &ctx.settings.digest;
            DigestConfig { policy: digest.policy, order: digest.order, ..config }
        }
    }
}

/// A token counter and its name. Digests are always counted with the built-in tokenizer, so that
/// figures of different models compare.
pub(crate) fn token_counter(_ctx: &Context) -> Result<(String, Counter)> {
    let tokenizer = builtin_tokenizer()?;
    Ok(("built-in tokenizer".to_owned(), Box::new(move |text: &str| tokenizer.count(text))))
}

/// Counts tokens; owned.
pub(crate) type Counter = Box<dyn Fn(&str) -> usize + Send + Sync>;

/// A client of the server that `section` of the settings names; its calls are stored in `cache_dir`.
pub(crate) fn openai(server: &ServerSettings, section: &str, cache_dir: PathBuf) -> Result<OpenAi> {
    let key_env = format!("{section}.api_key_env");
    let config = OpenAiConfig {
        api_key: secret(&key_env, server.api_key_env.as_deref())?,
        timeout_seconds: server.timeout_seconds as f64,
        concurrency: server.concurrency,
        token_budget: server.token_budget,
        dialect: server.dialect,
        style: server.style,
        cache_dir: Some(cache_dir),
        ..OpenAiConfig::new(&server.base_url, &server.model)
    };
    Ok(OpenAi::new(config)?)
}
