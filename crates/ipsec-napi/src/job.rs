//! Work that may wait for a worker or the kernel: on Node's thread pool, answered by a promise.

use napi::bindgen_prelude::{AsyncTask, ToNapiValue, TypeName};
use napi::{Env, Result, Task};

/// A closure as a task.
pub struct Job<T>(Option<Box<dyn FnOnce() -> T + Send>>);

impl<T: ToNapiValue + TypeName + Send + 'static> Task for Job<T> {
    type Output = T;
    type JsValue = T;

    fn compute(&mut self) -> Result<T> {
        let work = self
            .0
            .take()
            .ok_or_else(|| napi::Error::from_reason("a job runs once"))?;
        Ok(work())
    }

    fn resolve(&mut self, _env: Env, output: T) -> Result<T> {
        Ok(output)
    }
}

/// Starts a job.
pub fn job<T: ToNapiValue + TypeName + Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> AsyncTask<Job<T>> {
    AsyncTask::new(Job(Some(Box::new(work))))
}
