//! Decoders on disk in the Hugging Face layout: `config.json` and one or many files of safetensors.
//!
//! transformers, vLLM and SGLang load the same folder. Numbers in F32, F16, BF16, or FP8 with a scale
//! per output channel, per tensor (`weight_scale`, as llm-compressor writes) or per block of 128 x 128
//! (`weight_scale_inv`, as the official FP8 checkpoints of Qwen3 have).

mod shards;

use std::borrow::Cow;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use nn::{Dtype, WeightFormat};
use safetensors::tensor::{Dtype as StoredDtype, View};

use self::shards::Shards;
use crate::decoder::{Decoder, DecoderConfig, Layout, PackedDecoder, TensorSource};
use crate::error::LmError;

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Reads the decoder of a folder for training.
///
/// # Errors
/// [`LmError::Io`] when a file cannot be read, [`LmError::BadModel`] when its content does not fit.
pub fn load_decoder(dir: &Path) -> Result<Decoder, LmError> {
    let config = std::fs::read(dir.join(CONFIG)).map_err(|e| io(&dir.join(CONFIG), &e))?;
    unpacked(read_config(dir, &config)?, &Shards::open(dir)?)
}

/// Reads a decoder for training from the bytes of the two files, as they are compiled into a binary.
///
/// # Errors
/// [`LmError::BadModel`] when the content does not fit.
pub fn load_decoder_bytes(config_json: &[u8], safetensors: &[u8]) -> Result<Decoder, LmError> {
    unpacked(read_config(Path::new(""), config_json)?, &Shards::of_bytes(safetensors)?)
}

/// Reads the decoder of a folder for inference, tensor by tensor: never more of it in memory than its
/// packed weights and one tensor.
///
/// # Errors
/// As [`load_decoder`].
pub fn load_packed(
    dir: &Path,
    format: WeightFormat,
    window: usize,
) -> Result<PackedDecoder, LmError> {
    let config = std::fs::read(dir.join(CONFIG)).map_err(|e| io(&dir.join(CONFIG), &e))?;
    PackedDecoder::new(read_config(dir, &config)?, &Shards::open(dir)?, format, window)
}

/// As [`load_packed`], from the bytes of the two files.
///
/// # Errors
/// As [`load_decoder_bytes`].
pub fn load_packed_bytes(
    config_json: &[u8],
    safetensors: &[u8],
    format: WeightFormat,
    window: usize,
) -> Result<PackedDecoder, LmError> {
    let config = read_config(Path::new(""), config_json)?;
    PackedDecoder::new(config, &Shards::of_bytes(safetensors)?, format, window)
}

/// Writes the two files of a folder, which is made if missing; each appears complete or not at all.
///
/// # Errors
/// [`LmError::Io`] when a file cannot be written.
pub fn save_decoder(decoder: &Decoder, dir: &Path, dtype: Dtype) -> Result<(), LmError> {
    let torch_dtype = match dtype {
        Dtype::F32 => "float32",
        Dtype::F16 => "float16",
        Dtype::Bf16 => "bfloat16",
    };
    save_config(decoder, dir, &[("torch_dtype", torch_dtype.into())])?;
    let tensors = decoder.layout().tensors().iter().map(|place| {
        let numbers = place.as_stored(&decoder.params()[place.range.clone()]);
        let bytes = nn::to_bytes(&numbers, dtype);
        let (shape, dtype) = (place.shape.clone(), stored_dtype(dtype));
        (place.name.clone(), Stored { bytes, shape, dtype })
    });
    save_tensors(tensors.collect(), &dir.join(WEIGHTS))
}

/// As [`save_decoder`] with the matrices of the blocks in FP8, a scale per output channel beside each
/// (`weight_scale`), in the notation of llm-compressor (compressed-tensors); all else in BF16.
///
/// # Errors
/// As [`save_decoder`].
pub fn save_decoder_fp8(decoder: &Decoder, dir: &Path) -> Result<(), LmError> {
    let weights = serde_json::json!({
        "num_bits": 8, "type": "float", "strategy": "channel", "symmetric": true, "dynamic": false,
    });
    let inputs = serde_json::json!({
        "num_bits": 8, "type": "float", "strategy": "token", "symmetric": true, "dynamic": true,
    });
    let group = serde_json::json!({
        "targets": ["Linear"], "weights": weights, "input_activations": inputs,
    });
    let quantization = serde_json::json!({
        "quant_method": "compressed-tensors", "format": "float-quantized",
        "quantization_status": "compressed", "ignore": ["lm_head"],
        "config_groups": { "group_0": group },
    });
    let extra = [("torch_dtype", "bfloat16".into()), ("quantization_config", quantization)];
    save_config(decoder, dir, &extra)?;
    let mut tensors = Vec::new();
    for place in decoder.layout().tensors() {
        let numbers = place.as_stored(&decoder.params()[place.range.clone()]);
        if !place.transposed {
            let (bytes, shape) = (nn::to_bytes(&numbers, Dtype::Bf16), place.shape.clone());
            tensors.push((place.name.clone(), Stored { bytes, shape, dtype: StoredDtype::BF16 }));
            continue;
        }
        let (codes, scales) = nn::quantize_fp8(&numbers, place.shape[1]);
        let (bytes, shape) = (nn::to_bytes(&scales, Dtype::F32), vec![scales.len(), 1]);
        let scales = Stored { bytes, shape, dtype: StoredDtype::F32 };
        let (shape, dtype) = (place.shape.clone(), StoredDtype::F8_E4M3);
        tensors.push((place.name.clone(), Stored { bytes: codes, shape, dtype }));
        tensors.push((format!("{}_scale", place.name), scales));
    }
    save_tensors(tensors, &dir.join(WEIGHTS))
}

/// Writes a file so that a crash leaves the old one or the new one: beside it, synced, renamed.
///
/// # Errors
/// [`LmError::Io`] when one of the steps fails.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), LmError> {
    let beside = path.with_extension("part");
    let write = || {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    write().map_err(|e| io(path, &e))
}

fn read_config(dir: &Path, json: &[u8]) -> Result<DecoderConfig, LmError> {
    DecoderConfig::from_json(json).map_err(|mut error| {
        if let LmError::BadModel { path, .. } = &mut error {
            *path = dir.join(CONFIG); // the configuration itself knows no folder
        }
        error
    })
}

fn unpacked(config: DecoderConfig, source: &Shards<'_>) -> Result<Decoder, LmError> {
    let layout = Layout::new(&config);
    let mut params = vec![0.0; layout.n_params()];
    for place in layout.tensors() {
        let n_in = place.shape.last().copied().unwrap_or(1);
        let numbers = source.tensor(place)?.into_numbers(n_in);
        let into = &mut params[place.range.clone()];
        match (place.transposed, &place.shape[..]) {
            (true, &[rows, cols]) => nn::transpose(&numbers, rows, cols, into),
            _ => into.copy_from_slice(&numbers),
        }
    }
    Decoder::new(config, params)
}

fn save_config(
    decoder: &Decoder,
    dir: &Path,
    extra: &[(&str, serde_json::Value)],
) -> Result<(), LmError> {
    std::fs::create_dir_all(dir).map_err(|e| io(dir, &e))?;
    let path = dir.join(CONFIG);
    let mut config = serde_json::to_value(decoder.config())
        .map_err(|e| unfit(&path, e.to_string(), "use finite numbers in the configuration"))?;
    for (name, value) in extra {
        config[name] = value.clone();
    }
    write_whole(&path, format!("{config:#}\n").as_bytes())
}

fn save_tensors(tensors: Vec<(String, Stored)>, path: &Path) -> Result<(), LmError> {
    // transformers refuses a file without this note.
    let note = [("format".to_owned(), "pt".to_owned())].into_iter().collect();
    let bytes = safetensors::serialize(tensors, Some(note))
        .map_err(|e| unfit(path, e.to_string(), "check the names of the tensors"))?;
    write_whole(path, &bytes)
}

/// A tensor as safetensors writes it.
struct Stored {
    bytes: Vec<u8>,
    shape: Vec<usize>,
    dtype: StoredDtype,
}

impl View for Stored {
    fn dtype(&self) -> StoredDtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

fn stored_dtype(dtype: Dtype) -> StoredDtype {
    match dtype {
        Dtype::F32 => StoredDtype::F32,
        Dtype::F16 => StoredDtype::F16,
        Dtype::Bf16 => StoredDtype::BF16,
    }
}

fn io(path: &Path, error: &std::io::Error) -> LmError {
    LmError::Io { path: path.to_owned(), reason: error.to_string() }
}

fn unfit(path: &Path, problem: String, mend: &str) -> LmError {
    LmError::BadModel { path: PathBuf::from(path), problem, mend: mend.to_owned() }
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;

    fn model() -> Decoder {
        Decoder::init(DecoderConfig::tiny(), 5).unwrap()
    }

    #[test]
    fn a_round_trip_keeps_what_the_format_can_hold() {
        for (dtype, loss) in [(Dtype::F32, 0.0), (Dtype::F16, 5e-4), (Dtype::Bf16, 4e-3)] {
            let dir = tempfile::tempdir().unwrap();
            let model = model();
            save_decoder(&model, dir.path(), dtype).unwrap();
            let back = load_decoder(dir.path()).unwrap();
            assert_eq!(back.config(), model.config());
            for (x, y) in model.params().iter().zip(back.params()) {
                assert!((x - y).abs() <= loss * (x.abs() + 1e-4), "{x} became {y}");
            }
        }
    }

    #[test]
    fn the_files_are_those_of_hugging_face() {
        let dir = tempfile::tempdir().unwrap();
        let model = model();
        save_decoder(&model, dir.path(), Dtype::F32).unwrap();
        let config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(dir.path().join(CONFIG)).unwrap()).unwrap();
        assert_eq!(config["architectures"][0], "Qwen3ForCausalLM");
        assert_eq!(config["torch_dtype"], "float32");
        let bytes = std::fs::read(dir.path().join(WEIGHTS)).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        // [out, in]: the second row of a checkpoint is the second column of the parameters.
        let up = tensors.tensor("model.layers.1.mlp.up_proj.weight").unwrap();
        assert_eq!(up.shape(), [20, 12]);
        let numbers = nn::from_bytes(up.data(), Dtype::F32);
        let place =
            model.layout().tensors().iter().find(|p| p.name.ends_with("1.mlp.up_proj.weight"));
        let ours = &model.params()[place.unwrap().range.clone()];
        assert_eq!(numbers[12], ours[1]);
        assert_eq!(numbers[1], ours[20]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let dir = tempfile::tempdir().unwrap();
        save_decoder(&model(), dir.path(), Dtype::F16).unwrap();
        let read = |name| std::fs::read(dir.path().join(name)).unwrap();
        let (config, weights) = (read(CONFIG), read(WEIGHTS));
        let check = |config: &[u8], weights: &[u8], expect: &str| {
            let text = load_decoder_bytes(config, weights).unwrap_err().to_string();
            assert!(text.contains(expect), "{expect:?} is missing in {text:?}");
        };
        load_decoder_bytes(&config, &weights).unwrap();
        check(b"{}", &weights, "vocab_size");
        check(&config, &weights[..weights.len() / 2], "model.safetensors");
        let wider = String::from_utf8(config.clone()).unwrap();
        let wider = wider.replace("\"intermediate_size\": 20", "\"intermediate_size\": 24");
        check(wider.as_bytes(), &weights, "expected [24, 12]");
        let error = load_decoder(Path::new("/nowhere")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/config.json"), "{error}");
    }
}
