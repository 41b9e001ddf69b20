//! Questions of many callers at once, answered together.
//!
//! A statement costs a round trip, and one that writes a commit, whatever it holds. So whoever asks while a statement
//! is under way waits for the next one, together with everybody else who does; whoever asks alone waits for nobody.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, oneshot};

/// Most questions that wait; whoever asks then waits to be let in.
const WAITING: usize = 1024;

/// A question with the way back to who asked.
type Asked<Q, A> = (Q, oneshot::Sender<A>);

/// Where to ask. Cheap to clone; the workers end with the last clone.
#[derive(Debug)]
pub struct Gather<Q, A>(mpsc::Sender<Asked<Q, A>>);

impl<Q, A> Clone for Gather<Q, A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<Q: Send + 'static, A: Send + 'static> Gather<Q, A> {
    /// Starts `workers`, each of which takes up to `most` questions at a time to `answer`, which answers each of them,
    /// in their order.
    pub fn start<F, Answers>(workers: usize, most: usize, answer: F) -> Self
    where
        F: Fn(Vec<Q>) -> Answers + Clone + Send + 'static,
        Answers: Future<Output = Vec<A>> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(WAITING);
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..workers {
            tokio::spawn(work(receiver.clone(), most, answer.clone()));
        }
        Self(sender)
    }

    /// Asks. `None`: whoever was to answer is gone, and nothing is known of what came of it.
    pub async fn ask(&self, question: Q) -> Option<A> {
        let (sender, answer) = oneshot::channel();
        self.0.send((question, sender)).await.ok()?;
        answer.await.ok()
    }
}

async fn work<Q, A, F, Answers>(receiver: Arc<Mutex<mpsc::Receiver<Asked<Q, A>>>>, most: usize, answer: F)
where
    A: Send + 'static,
    F: Fn(Vec<Q>) -> Answers,
    Answers: Future<Output = Vec<A>> + Send + 'static,
{
    let mut waiting = Vec::with_capacity(most);
    while receiver.lock().await.recv_many(&mut waiting, most).await > 0 {
        let (questions, askers): (Vec<_>, Vec<_>) = waiting.drain(..).unzip();
        // In a task of its own, so that a panic ends these questions and not all that follow.
        if let Ok(answers) = tokio::spawn(answer(questions)).await {
            askers
                .into_iter()
                .zip(answers)
                .for_each(|(asker, answer)| drop(asker.send(answer)));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    /// Answers with the double, and in how much company; waits for `go` before each batch.
    fn doubles(go: &Arc<Semaphore>, workers: usize, most: usize) -> Gather<u32, (u32, usize)> {
        let go = go.clone();
        Gather::start(workers, most, move |questions: Vec<u32>| {
            let go = go.clone();
            async move {
                go.acquire().await.unwrap().forget();
                assert!(!questions.contains(&13), "a question that ends badly");
                let together = questions.len();
                questions
                    .into_iter()
                    .map(|question| (question * 2, together))
                    .collect()
            }
        })
    }

    #[tokio::test]
    async fn whoever_asks_while_others_are_answered_is_answered_with_all_who_do() {
        let go = Arc::new(Semaphore::new(0));
        let gather = doubles(&go, 1, 100);
        let ask = |question| {
            let gather = gather.clone();
            tokio::spawn(async move { gather.ask(question).await })
        };
        let first = ask(1);
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        let others: Vec<_> = (2..=9).map(ask).collect();
        tokio::task::yield_now().await;
        go.add_permits(2);
        assert_eq!(first.await.unwrap(), Some((2, 1)));
        for (question, other) in (2..).zip(others) {
            assert_eq!(other.await.unwrap(), Some((question * 2, 8)));
        }
    }

    #[tokio::test]
    async fn no_more_than_so_many_go_together_and_each_hears_its_own_answer() {
        let go = Arc::new(Semaphore::new(1000));
        let gather = doubles(&go, 3, 4);
        let asked: Vec<_> = (100..200)
            .map(|question| {
                let gather = gather.clone();
                tokio::spawn(async move { (question, gather.ask(question).await) })
            })
            .collect();
        for asked in asked {
            let (question, answer) = asked.await.unwrap();
            let (double, together) = answer.unwrap();
            assert_eq!(double, question * 2);
            assert!(together <= 4);
        }
    }

    #[tokio::test]
    async fn a_panic_ends_its_own_questions_only() {
        let gather = doubles(&Arc::new(Semaphore::new(10)), 1, 1);
        assert_eq!(gather.ask(13).await, None);
        assert_eq!(gather.ask(1).await, Some((2, 1)));
    }
}
