//! `recgpt lm`: the built-in engine as a server, and models in eight bits.

use anyhow::{Context, Result, anyhow};
use lm::{Engine, EngineConfig, LanguageModel, load_decoder, save_decoder_fp8};
use serve::{LmConfig, ServeConfig, run_lm_until_signal};
use types::Clock;

use crate::cli::{LmServeArgs, QuantizeArgs};
use crate::failure::Usage;
use crate::machine::{SystemClock, secret};
use crate::progress::say;
use crate::steps::model::builtin;

/// `recgpt lm serve`
pub(crate) fn serve(args: &LmServeArgs) -> Result<()> {
    let api_key = secret("--api-key-env", args.api_key_env.as_deref())?;
    if api_key.as_deref() == Some("") {
        return Err(anyhow!(Usage("the variable that --api-key-env names is empty".to_owned())));
    }
    if !args.listen.ip().is_loopback() && api_key.is_none() {
        return Err(anyhow!(Usage(format!(
            "{} is not a loopback address; name the variable that holds a key with --api-key-env",
            args.listen
        ))));
    }
    let config = EngineConfig { max_waiting: args.max_waiting, ..args.engine.config() };
    let engine = match &args.model {
        Some(dir) => Engine::load(dir, config)?,
        None => builtin(config)?,
    };
    let model = args.name.clone().unwrap_or_else(|| engine.name().to_owned());
    let (decoder, now) = (engine.decoder(), u64::try_from(SystemClock.now().0).unwrap_or_default());
    say(&format!(
        "{model}: {:.1} M parameters, {:.1} MB of weights in {:?} on {:?}, window {}",
        decoder.n_params() as f64 / 1e6,
        decoder.n_bytes() as f64 / 1e6,
        decoder.format(),
        decoder.kernel(),
        engine.window(),
    ));
    let lm_config = LmConfig { model, api_key, started_at: now / 1000 };
    run_lm_until_signal(engine, lm_config, ServeConfig::new(args.listen, now), &|addr| {
        say(&format!("listening on http://{addr}/v1; stop with Ctrl-C"));
    })?;
    Ok(())
}

/// `recgpt lm quantize`
pub(crate) fn quantize(args: &QuantizeArgs) -> Result<()> {
    if args.from == args.to {
        return Err(anyhow!(Usage("the folder to write is the one to read".to_owned())));
    }
    save_decoder_fp8(&load_decoder(&args.from)?, &args.to)?;
    // What else a model folder holds goes along as it is.
    for name in
        ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"]
    {
        let from = args.from.join(name);
        if from.exists() {
            std::fs::copy(&from, args.to.join(name))
                .with_context(|| format!("copying {}", from.display()))?;
        }
    }
    say(&format!("written to {}", args.to.display()));
    Ok(())
}
