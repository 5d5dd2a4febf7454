//! Tensor files: safetensors with f32 data, written to a temporary file, synced and renamed.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::RetrievalError;

/// Shape and numbers of one tensor.
pub(crate) type Tensor = (Vec<usize>, Vec<f32>);

/// Writes named tensors; the file appears whole or not at all.
pub(crate) fn save_tensors(
    path: &Path,
    tensors: &[(&str, Vec<usize>, &[f32])],
) -> Result<(), RetrievalError> {
    let format = |e: safetensors::SafeTensorError| RetrievalError::Format {
        path: path.to_owned(),
        detail: format!("cannot be encoded: {e}"),
    };
    let views = tensors
        .iter()
        .map(|(name, shape, data)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(data));
            Ok((*name, view.map_err(format)?))
        })
        .collect::<Result<Vec<_>, _>>()?;
    write_whole(path, &safetensors::serialize(views, None).map_err(format)?)
}

/// Reads all tensors of a file.
pub(crate) fn load_tensors(path: &Path) -> Result<BTreeMap<String, Tensor>, RetrievalError> {
    let bad = |detail: String| RetrievalError::Format { path: path.to_owned(), detail };
    let bytes = std::fs::read(path)
        .map_err(|source| RetrievalError::Io { path: path.to_owned(), source })?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| bad(format!("is damaged: {e}")))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.tensors() {
        if view.dtype() != Dtype::F32 {
            return Err(bad(format!("{name} is {:?}, expected F32", view.dtype())));
        }
        let numbers = view
            .data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        tensors.insert(name, (view.shape().to_vec(), numbers));
    }
    Ok(tensors)
}

/// Takes one tensor out of what [`load_tensors`] read.
pub(crate) fn take(
    tensors: &mut BTreeMap<String, Tensor>,
    name: &str,
    path: &Path,
) -> Result<Tensor, RetrievalError> {
    tensors.remove(name).ok_or_else(|| RetrievalError::Format {
        path: path.to_owned(),
        detail: format!("has no tensor {name}"),
    })
}

/// Writes `bytes` to a neighbour of `path`, syncs it, and renames it into place.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), RetrievalError> {
    write_through(path, |temporary| std::fs::write(temporary, bytes))
}

/// Has `write` fill a neighbour of `path`, syncs it, and renames it into place.
pub(crate) fn write_through(
    path: &Path,
    write: impl FnOnce(&Path) -> std::io::Result<()>,
) -> Result<(), RetrievalError> {
    let temporary = path.with_extension("partial");
    let done = || -> std::io::Result<()> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        write(&temporary)?;
        std::fs::File::open(&temporary)?.sync_all()?;
        std::fs::rename(&temporary, path)?;
        if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
            std::fs::File::open(dir)?.sync_all()?; // the rename itself
        }
        Ok(())
    };
    done().map_err(|source| RetrievalError::Io { path: path.to_owned(), source })
}
