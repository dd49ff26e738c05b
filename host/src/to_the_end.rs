//! Work that goes on when nobody waits for it any longer.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::runtime::Handle;

/// Says that work has begun, and from then on has to run to its end.
#[derive(Clone, Default)]
pub(crate) struct Begun(Arc<AtomicBool>);

impl Begun {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A future that, when it is dropped after its work has begun, goes on in a task. What it holds, such as locks and
/// permits, is held until then.
pub(crate) struct ToTheEnd<T: Send + 'static> {
    /// None once it has ended.
    work: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    begun: Begun,
    runtime: Handle,
}

impl<T: Send + 'static> ToTheEnd<T> {
    /// Makes the future of some work, which sets `begun`. A task on this runtime may take it over.
    pub(crate) fn new<F>(runtime: Handle, work: impl FnOnce(Begun) -> F) -> Self
    where
        F: Future<Output = T> + Send + 'static,
    {
        let begun = Begun::default();
        Self {
            work: Some(Box::pin(work(begun.clone()))),
            begun,
            runtime,
        }
    }
}

impl<T: Send + 'static> Future for ToTheEnd<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Some(work) = &mut self.work else {
            return Poll::Pending;
        };
        let done = work.as_mut().poll(context);
        if done.is_ready() {
            self.work = None;
        }
        done
    }
}

impl<T: Send + 'static> Drop for ToTheEnd<T> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take()
            && self.begun.0.load(Ordering::Relaxed)
        {
            self.runtime.spawn(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn only_work_that_has_begun_goes_on() {
        for begins in [true, false] {
            let (go, wait) = oneshot::channel::<()>();
            let (done, ended) = oneshot::channel();
            let mut work = ToTheEnd::new(Handle::current(), |begun| async move {
                if begins {
                    begun.set();
                }
                wait.await.expect("a signal");
                done.send(7).expect("the test waits");
            });
            assert!((&mut work).now_or_never().is_none());
            drop(work);
            assert_eq!(go.send(()).is_ok(), begins);
            assert_eq!(ended.await.ok(), begins.then_some(7));
        }
        let whole = ToTheEnd::new(Handle::current(), |_| async { 8 });
        assert_eq!(whole.await, 8);
    }
}
