//! The tensors of one or many safetensors files, read where they lie.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use nn::Dtype;
use safetensors::tensor::{Dtype as StoredDtype, SafeTensors, TensorView};
use serde::Deserialize;

use super::{INDEX, WEIGHTS, io, stored_dtype, unfit};
use crate::decoder::{Tensor, TensorPlace, TensorSource};
use crate::error::LmError;

/// Side of the blocks that share a scale in `weight_scale_inv`.
const BLOCK: usize = 128;

/// Files whose headers have been checked.
pub(super) struct Shards<'a> {
    files: Vec<(PathBuf, Bytes<'a>)>,
    /// Which file holds each tensor.
    places: BTreeMap<String, usize>,
}

enum Bytes<'a> {
    Mapped(Mmap),
    Given(&'a [u8]),
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Shards<'_> {
    /// Maps the files of a folder: those that its index names, or the single one.
    pub(super) fn open(dir: &Path) -> Result<Self, LmError> {
        let index = dir.join(INDEX);
        if !index.exists() {
            return Self::new(vec![mapped(dir.join(WEIGHTS))?]);
        }
        let json = std::fs::read(&index).map_err(|e| io(&index, &e))?;
        let Index { weight_map } = serde_json::from_slice(&json)
            .map_err(|e| unfit(&index, e.to_string(), "give the index of the files"))?;
        let mut names: Vec<&String> = weight_map.values().collect();
        names.sort_unstable();
        names.dedup();
        if let Some(name) = names.iter().find(|name| Path::new(name).components().count() != 1) {
            return Err(unfit(&index, format!("{name:?} is no file name"), "name files beside it"));
        }
        Self::new(names.iter().map(|name| mapped(dir.join(name))).collect::<Result<_, _>>()?)
    }

    fn view(&self, name: &str) -> Result<(&Path, TensorView<'_>), LmError> {
        let at = self.places.get(name).copied();
        let (path, bytes) = &self.files[at.unwrap_or(0)];
        let view = SafeTensors::deserialize(bytes.as_slice()).and_then(|all| all.tensor(name));
        let mend = "give the weights of this configuration";
        Ok((path, view.map_err(|e| unfit(path, format!("{name}: {e}"), mend))?))
    }
}

impl<'a> Shards<'a> {
    /// The tensors in the bytes of one file.
    pub(super) fn of_bytes(bytes: &'a [u8]) -> Result<Self, LmError> {
        Self::new(vec![(PathBuf::from(WEIGHTS), Bytes::Given(bytes))])
    }

    fn new(files: Vec<(PathBuf, Bytes<'a>)>) -> Result<Self, LmError> {
        let mut places = BTreeMap::new();
        for (idx, (path, bytes)) in files.iter().enumerate() {
            let tensors = SafeTensors::deserialize(bytes.as_slice())
                .map_err(|e| unfit(path, e.to_string(), "the file is cut or not safetensors"))?;
            places.extend(tensors.names().into_iter().map(|name| (name.to_owned(), idx)));
        }
        Ok(Self { files, places })
    }
}

impl TensorSource for Shards<'_> {
    fn tensor(&self, place: &TensorPlace) -> Result<Tensor<'_>, LmError> {
        let (path, view) = self.view(&place.name)?;
        if view.shape() != place.shape {
            let problem =
                format!("{} is {:?}, expected {:?}", place.name, view.shape(), place.shape);
            return Err(unfit(path, problem, "give the weights of this configuration"));
        }
        if view.dtype() != StoredDtype::F8_E4M3 {
            return Ok(Tensor::Numbers(Cow::Owned(numbers(path, &place.name, &view)?)));
        }
        let codes = view.data();
        if codes.iter().any(|code| code & 0x7f == 0x7f) {
            let problem = format!("{} holds codes that are no numbers", place.name);
            return Err(unfit(path, problem, "write the weights again"));
        }
        let (rows, cols) = (place.shape[0], place.shape[1..].iter().product::<usize>().max(1));
        let inverse = format!("{}_scale_inv", place.name);
        if self.places.contains_key(&inverse) {
            let (path, view) = self.view(&inverse)?;
            let scales = numbers(path, &inverse, &view)?;
            return by_block(codes, &scales, (rows, cols)).ok_or_else(|| {
                let problem = format!("{inverse} is {:?} for {rows} x {cols}", view.shape());
                unfit(path, problem, "give a scale for each block of 128 x 128")
            });
        }
        let scale = format!("{}_scale", place.name);
        let (path, view) = self.view(&scale)?;
        let mut scales = numbers(path, &scale, &view)?;
        if scales.len() == 1 {
            scales.resize(rows, scales[0]);
        }
        if scales.len() != rows {
            let problem = format!("{scale} is {:?} for {rows} output channels", view.shape());
            return Err(unfit(path, problem, "give a scale per output channel, or one"));
        }
        Ok(Tensor::Fp8 { codes, scales })
    }
}

/// Numbers of a plain tensor.
fn numbers(path: &Path, name: &str, view: &TensorView<'_>) -> Result<Vec<f32>, LmError> {
    let dtype = [Dtype::F32, Dtype::F16, Dtype::Bf16]
        .into_iter()
        .find(|dtype| stored_dtype(*dtype) == view.dtype())
        .ok_or_else(|| {
            let problem = format!("{name} is {:?}", view.dtype());
            unfit(path, problem, "convert it to F32, F16, BF16 or F8_E4M3")
        })?;
    Ok(nn::from_bytes(view.data(), dtype))
}

/// Codes whose scales belong to blocks, as plain numbers; none if the scales are too few or many.
fn by_block(codes: &[u8], scales: &[f32], (rows, cols): (usize, usize)) -> Option<Tensor<'static>> {
    let across = cols.div_ceil(BLOCK);
    if scales.len() != rows.div_ceil(BLOCK) * across {
        return None;
    }
    let number = |(at, &code): (usize, &u8)| {
        let block = at / cols / BLOCK * across + at % cols / BLOCK;
        nn::Fp8::from_bits(code).to_f32() * scales[block]
    };
    Some(Tensor::Numbers(Cow::Owned(codes.iter().enumerate().map(number).collect())))
}

impl Bytes<'_> {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Given(bytes) => bytes,
        }
    }
}

#[expect(unsafe_code, reason = "memory maps are unsafe by nature")]
fn mapped(path: PathBuf) -> Result<(PathBuf, Bytes<'static>), LmError> {
    let file = File::open(&path).map_err(|e| io(&path, &e))?;
    // SAFETY: the map is read only while the weights are copied out; a model folder is not written in
    // place (see `write_whole`), and the format is checked before any tensor is read.
    let map = unsafe { Mmap::map(&file) }.map_err(|e| io(&path, &e))?;
    Ok((path, Bytes::Mapped(map)))
}
