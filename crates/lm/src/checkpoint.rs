//! Decoders on disk in the Hugging Face layout: `config.json` and `model.safetensors`.
//!
//! transformers, vLLM and SGLang load the same folder. Several weight files with an index are not
//! read.

use std::borrow::Cow;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use nn::Dtype;
use safetensors::tensor::{Dtype as StoredDtype, SafeTensors, TensorView, View};

use crate::decoder::{Decoder, DecoderConfig, Layout, TensorPlace};
use crate::error::LmError;

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";

/// Reads `config.json` and `model.safetensors` of a folder.
///
/// # Errors
/// [`LmError::Io`] when a file cannot be read, [`LmError::BadModel`] when its content does not fit.
pub fn load_decoder(dir: &Path) -> Result<Decoder, LmError> {
    let config = std::fs::read(dir.join(CONFIG)).map_err(|e| io(&dir.join(CONFIG), &e))?;
    let weights = File::open(dir.join(WEIGHTS)).map_err(|e| io(&dir.join(WEIGHTS), &e))?;
    let weights = map(&weights).map_err(|e| io(&dir.join(WEIGHTS), &e))?;
    read_decoder(dir, &config, &weights)
}

/// Reads a decoder from the bytes of the two files, as they are compiled into a binary.
///
/// # Errors
/// [`LmError::BadModel`] when the content does not fit.
pub fn load_decoder_bytes(config_json: &[u8], safetensors: &[u8]) -> Result<Decoder, LmError> {
    read_decoder(Path::new(""), config_json, safetensors)
}

/// Writes the two files of a folder, which is made if missing; each appears complete or not at all.
///
/// # Errors
/// [`LmError::Io`] when a file cannot be written.
pub fn save_decoder(decoder: &Decoder, dir: &Path, dtype: Dtype) -> Result<(), LmError> {
    std::fs::create_dir_all(dir).map_err(|e| io(dir, &e))?;
    let mut config = serde_json::to_value(decoder.config()).map_err(|e| LmError::BadModel {
        path: dir.join(CONFIG),
        problem: e.to_string(),
        mend: "use finite numbers in the configuration".to_owned(),
    })?;
    let torch_dtype = match dtype {
        Dtype::F32 => "float32",
        Dtype::F16 => "float16",
        Dtype::Bf16 => "bfloat16",
    };
    config["torch_dtype"] = torch_dtype.into();
    write_whole(&dir.join(CONFIG), format!("{config:#}\n").as_bytes())?;
    let tensors = decoder.layout().tensors().iter().map(|place| {
        let numbers = stored(&decoder.params()[place.range.clone()], place);
        let bytes = nn::to_bytes(&numbers, dtype);
        (place.name.as_str(), Stored { bytes, shape: &place.shape, dtype: stored_dtype(dtype) })
    });
    let path = dir.join(WEIGHTS);
    // transformers refuses a file without this note.
    let note = [("format".to_owned(), "pt".to_owned())].into_iter().collect();
    let bytes = safetensors::serialize(tensors, Some(note))
        .map_err(|e| unfit(&path, e.to_string(), "check the names of the tensors"))?;
    write_whole(&path, &bytes)
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

fn read_decoder(dir: &Path, config: &[u8], weights: &[u8]) -> Result<Decoder, LmError> {
    let path = dir.join(CONFIG);
    let config: DecoderConfig = serde_json::from_slice(config)
        .map_err(|e| unfit(&path, e.to_string(), "give the config.json of a Qwen3 model"))?;
    config.check()?;
    let path = dir.join(WEIGHTS);
    let tensors = SafeTensors::deserialize(weights)
        .map_err(|e| unfit(&path, e.to_string(), "the file is cut or not safetensors"))?;
    let layout = Layout::new(&config);
    let mut params = vec![0.0; layout.n_params()];
    for place in layout.tensors() {
        let tensor = tensors.tensor(&place.name).map_err(|e| {
            unfit(&path, format!("{}: {e}", place.name), "give the weights of this configuration")
        })?;
        read_tensor(&path, place, &tensor, &mut params[place.range.clone()])?;
    }
    Decoder::new(config, params)
}

fn read_tensor(
    path: &Path,
    place: &TensorPlace,
    tensor: &TensorView<'_>,
    into: &mut [f32],
) -> Result<(), LmError> {
    if tensor.shape() != place.shape {
        let problem = format!("{} is {:?}, expected {:?}", place.name, tensor.shape(), place.shape);
        return Err(unfit(path, problem, "give the weights of this configuration"));
    }
    let dtype = [Dtype::F32, Dtype::F16, Dtype::Bf16]
        .into_iter()
        .find(|dtype| stored_dtype(*dtype) == tensor.dtype())
        .ok_or_else(|| {
            let problem = format!("{} is {:?}", place.name, tensor.dtype());
            unfit(path, problem, "convert it to F32, F16 or BF16")
        })?;
    let numbers = nn::from_bytes(tensor.data(), dtype);
    match (place.transposed, &place.shape[..]) {
        (true, &[rows, cols]) => nn::transpose(&numbers, rows, cols, into),
        _ => into.copy_from_slice(&numbers),
    }
    Ok(())
}

/// The numbers of a tensor in the order of a checkpoint.
fn stored<'a>(numbers: &'a [f32], place: &TensorPlace) -> Cow<'a, [f32]> {
    match (place.transposed, &place.shape[..]) {
        (true, &[rows, cols]) => {
            let mut turned = vec![0.0; numbers.len()];
            nn::transpose(numbers, cols, rows, &mut turned);
            Cow::Owned(turned)
        }
        _ => Cow::Borrowed(numbers),
    }
}

/// A tensor as safetensors writes it.
struct Stored<'a> {
    bytes: Vec<u8>,
    shape: &'a [usize],
    dtype: StoredDtype,
}

impl View for Stored<'_> {
    fn dtype(&self) -> StoredDtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        self.shape
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

#[expect(unsafe_code, reason = "memory maps are unsafe by nature")]
fn map(file: &File) -> std::io::Result<memmap2::Mmap> {
    // SAFETY: the map is read only while the parameters are copied out; a model folder is not
    // written in place (see `write_whole`), and the format is checked before any tensor is read.
    unsafe { memmap2::Mmap::map(file) }
}

fn io(path: &Path, error: &std::io::Error) -> LmError {
    LmError::Io { path: path.to_owned(), reason: error.to_string() }
}

fn unfit(path: &Path, problem: String, mend: &str) -> LmError {
    LmError::BadModel { path: PathBuf::from(path), problem, mend: mend.to_owned() }
}

#[cfg(test)]
mod tests {
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
