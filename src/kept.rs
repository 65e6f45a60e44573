//! A small JSON file that commands change and a running gateway reads: changed as a whole, under a lock, or not at all.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write as _;
use std::marker::PhantomData;
use std::path::Path;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why the file could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// It could not be read or written.
    #[error("{0}: {1}")]
    File(PathBuf, #[source] io::Error),
    /// It holds something else.
    #[error("{0}: it is not the file that was looked for: {1}")]
    Format(PathBuf, #[source] serde_json::Error),
}

/// A file that holds one `T` and may not exist yet.
#[derive(Debug, Clone)]
pub struct Kept<T> {
    path: PathBuf,
    holds: PhantomData<fn(T) -> T>,
}

/// When a file was last changed and how long it is; `None` if it is not there.
pub type Stamp = Option<(SystemTime, u64)>;

impl<T: Default + Serialize + DeserializeOwned> Kept<T> {
    /// The file at a path.
    pub fn new(path: PathBuf) -> Self {
        Self { path, holds: PhantomData }
    }

    /// What it holds; the default if there is no file.
    pub fn read(&self) -> Result<T, KeptError> {
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(T::default()),
            Err(error) => return Err(KeptError::File(self.path.clone(), error)),
        };
        serde_json::from_slice(&bytes).map_err(|error| KeptError::Format(self.path.clone(), error))
    }

    /// Changes what it holds, unless `change` refuses: a lock beside it keeps other writers out, and a rename makes
    /// the change whole for readers. The file has mode 0600.
    pub fn change<R, E: From<KeptError>>(
        &self,
        change: impl FnOnce(&mut T) -> Result<R, E>,
    ) -> Result<R, E> {
        let failed = |error| KeptError::File(self.path.clone(), error);
        let directory = self.path.parent().unwrap_or_else(|| Path::new("."));
        std::fs::create_dir_all(directory).map_err(failed)?;
        let lock = self.path.with_extension("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(lock);
        let lock = lock.map_err(failed)?;
        lock.lock().map_err(failed)?;
        let mut held = self.read()?;
        let result = change(&mut held)?;
        let bytes = serde_json::to_vec_pretty(&held)
            .map_err(|error| KeptError::Format(self.path.clone(), error))?;
        let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
        file.write_all(&bytes).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
        file.persist(&self.path).map_err(|error| failed(error.error))?;
        // the name too is on the disk, before anybody is told that the change is made
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
        Ok(result)
    }

    /// Tells whether the file changed since an earlier look.
    pub fn stamp(&self) -> Stamp {
        let found = std::fs::metadata(&self.path).ok()?;
        Some((found.modified().ok()?, found.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_many_at_once_are_all_kept_and_a_refused_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let kept: Kept<Vec<u32>> = Kept::new(directory.path().join("deep/numbers.json"));
        let add = |number| {
            kept.change(|held| {
                held.push(number);
                Ok::<_, KeptError>(())
            })
        };
        std::thread::scope(|scope| {
            for number in 0..8 {
                scope.spawn(move || add(number).unwrap());
            }
        });
        let refused = kept.change(|held| {
            held.clear();
            Err::<(), _>(KeptError::File(PathBuf::new(), io::Error::other("no")))
        });
        assert!(refused.is_err());
        let mut numbers = kept.read().unwrap();
        numbers.sort_unstable();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7]);
        assert!(kept.stamp().is_some());
    }

    #[test]
    fn what_is_no_such_file_is_told_with_its_name_and_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("numbers.json");
        std::fs::write(&path, "words").unwrap();
        let kept: Kept<Vec<u32>> = Kept::new(path.clone());
        let told = kept.change(|_| Ok::<_, KeptError>(())).unwrap_err().to_string();
        assert!(told.contains("numbers.json") && told.contains("not the file"), "{told}");
        assert_eq!(std::fs::read_to_string(path).unwrap(), "words");
    }
}
