//! Questions of many callers at once, answered together.
//!
//! A statement costs a round trip, its beginning, and one that writes a commit, whatever it holds. So whoever asks while a
//! statement is under way waits for the next one, together with everybody else who does. Where many were answered
//! together, as many are about to ask again: the next statement waits for them, as [`Company`] says. Whoever comes after one
//! who came alone, or long after the last, waits for nobody.

mod company;

use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

pub use company::{Company, Going, Last, Present};

/// Most questions that wait; whoever asks then waits to be let in.
const WAITING: usize = 1024;
/// Most questions that are answered alone at once: each takes a connection.
const ALONE: usize = 4;

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
    pub fn start<F, Answers>(workers: usize, most: usize, company: Company, answer: F) -> Self
    where
        F: Fn(Vec<Q>) -> Answers + Clone + Send + 'static,
        Answers: Future<Output = Vec<A>> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(WAITING);
        let waiting = Arc::new(Mutex::new(Waiting::new(receiver, most, company)));
        for _ in 0..workers {
            tokio::spawn(work(waiting.clone(), answer.clone()));
        }
        Self(sender)
    }

    /// Asks. `None`: whoever was to answer is gone, and nothing is known of what came of it.
    pub async fn ask(&self, question: Q) -> Option<A> {
        let (sender, answer) = oneshot::channel();
        self.0.send((question, sender)).await.ok()?;
        answer.await.ok()
    }

    /// Asks without waiting for the answer; `false`: too much waits already, or whoever was to answer is gone.
    pub fn leave(&self, question: Q) -> bool {
        self.0.try_send((question, oneshot::channel().0)).is_ok()
    }
}

async fn work<Q, A, F, Answers>(waiting: Arc<Mutex<Waiting<Asked<Q, A>>>>, answer: F)
where
    A: Send + 'static,
    F: Fn(Vec<Q>) -> Answers,
    Answers: Future<Output = Vec<A>> + Send + 'static,
{
    let mut taken = Vec::new();
    loop {
        waiting.lock().await.take(&mut taken).await;
        if taken.is_empty() {
            return;
        }
        let (questions, askers): (Vec<_>, Vec<_>) = taken.drain(..).unzip();
        // In a task of its own, so that a panic ends these questions and not all that follow.
        if let Ok(answers) = tokio::spawn(answer(questions)).await {
            askers
                .into_iter()
                .zip(answers)
                .for_each(|(asker, answer)| drop(asker.send(answer)));
        }
    }
}

/// What waits to be taken, in company.
#[derive(Debug)]
pub struct Waiting<T> {
    receiver: mpsc::Receiver<T>,
    most: usize,
    company: Company,
    last: Last,
}

impl<T> Waiting<T> {
    /// Up to `most` are taken at a time.
    #[must_use]
    pub fn new(receiver: mpsc::Receiver<T>, most: usize, company: Company) -> Self {
        Self {
            receiver,
            most,
            company,
            last: Last::now(0),
        }
    }

    /// Takes what waits into `taken`, and what comes while company is waited for. Nothing is taken when nothing will come
    /// any more.
    pub async fn take(&mut self, taken: &mut Vec<T>) {
        self.receiver.recv_many(taken, self.most).await;
        let company = self.company.after(self.last, Instant::now());
        while (1..self.most).contains(&taken.len())
            && let Some(until) = company.until(taken.len())
        {
            let more = self.receiver.recv_many(taken, self.most - taken.len());
            match timeout_at(until, more).await {
                Ok(1..) => {}
                // Nobody came in time, or nobody will.
                Ok(0) | Err(_) => break,
            }
        }
        self.last = Last::now(taken.len());
    }
}

/// Lets `all` answer the questions together. What is refused of one is not to take the others with it: where they are
/// refused together each is answered alone, unless `is_away` says of the error that this fares no better.
pub async fn all_or_each<Q, A, E, F, Answers>(
    questions: Vec<Q>,
    all: F,
    is_away: fn(&E) -> bool,
) -> Vec<Result<A, Arc<E>>>
where
    Q: Clone,
    E: std::fmt::Display,
    F: Fn(Arc<[Q]>) -> Answers,
    Answers: Future<Output = Result<Vec<A>, E>>,
{
    let questions: Arc<[Q]> = questions.into();
    let each = match all(Arc::clone(&questions)).await {
        Ok(answers) => return answers.into_iter().map(Ok).collect(),
        Err(error) if questions.len() <= 1 || is_away(&error) => {
            let error = Arc::new(error);
            return questions.iter().map(|_| Err(Arc::clone(&error))).collect();
        }
        Err(error) => {
            tracing::warn!(error = %error, questions = questions.len(), "refused together; trying each alone");
            let alone = questions
                .iter()
                .map(|question| all(Arc::from([question.clone()])));
            alone.collect::<Vec<_>>()
        }
    };
    let mut answered = stream::iter(each).buffered(ALONE);
    let mut answers = Vec::with_capacity(questions.len());
    while let Some(alone) = answered.next().await {
        match alone {
            Ok(one) => answers.extend(one.into_iter().take(1).map(Ok)),
            Err(error) => answers.push(Err(Arc::new(error))),
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    /// Answers with the double, and in how much company; waits for `go` before each batch.
    fn doubles(go: &Arc<Semaphore>, workers: usize, most: usize) -> Gather<u32, (u32, usize)> {
        let go = go.clone();
        Gather::start(workers, most, Company::AsBefore, move |questions: Vec<u32>| {
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

    /// What is taken where `before` wait already and `then` come one after the other, after a time when `number` came, which
    /// was as long ago as `at` says.
    async fn taken(before: u32, then: u32, number: usize, most: usize, at: Instant) -> usize {
        let (sender, receiver) = mpsc::channel(100);
        for question in 0..before {
            sender.send(question).await.unwrap();
        }
        let asking = tokio::spawn(async move {
            for question in 0..then {
                tokio::task::yield_now().await;
                sender.send(question).await.unwrap();
            }
            std::future::pending::<()>().await;
        });
        let going = Going::default();
        let _all: Vec<_> = (0..24).map(|_| going.enter()).collect();
        let mut waiting = Waiting::new(receiver, most, Company::Paced(going));
        waiting.last = Last { number, at };
        let mut taken = Vec::new();
        waiting.take(&mut taken).await;
        asking.abort();
        assert_eq!(waiting.last.number, taken.len());
        assert!(waiting.last.at != at);
        taken.len()
    }

    #[tokio::test]
    async fn company_is_waited_for_until_it_is_enough_or_its_time_is_over() {
        // From a time that is far ahead, the time for a quarter of 24 is not over before a minute is.
        let ahead = Instant::now() + std::time::Duration::from_secs(60);
        assert!(taken(1, 9, 2, 100, ahead).await >= 6);
        assert_eq!(taken(7, 9, 2, 100, ahead).await, 7);
        assert_eq!(taken(1, 9, 2, 4, ahead).await, 4);
        assert_eq!(taken(1, 9, 1, 100, ahead).await, 1);
        assert_eq!(taken(1, 0, 9, 100, Instant::now()).await, 1);
    }

    #[tokio::test]
    async fn nothing_is_taken_when_nobody_will_ask_any_more() {
        let (sender, receiver) = mpsc::channel::<u32>(1);
        drop(sender);
        let mut waiting = Waiting::new(receiver, 100, Company::AsBefore);
        waiting.last = Last::now(8);
        let mut taken = Vec::new();
        waiting.take(&mut taken).await;
        assert!(taken.is_empty());
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

    /// Doubles of all, unless one of them is refused; how often it was asked.
    async fn doubled(questions: &[u32], refused: u32, is_away: bool) -> (Vec<Option<u32>>, usize) {
        let asked = Arc::new(AtomicUsize::new(0));
        let all = |questions: Arc<[u32]>| {
            let asked = asked.clone();
            async move {
                asked.fetch_add(1, Ordering::Relaxed);
                match questions.contains(&refused) {
                    true => Err("refused"),
                    false => Ok(questions.iter().map(|question| question * 2).collect()),
                }
            }
        };
        let away: fn(&&str) -> bool = if is_away { |_| true } else { |_| false };
        let answers = all_or_each(questions.to_vec(), all, away).await;
        let answers = answers.into_iter().map(Result::ok).collect();
        (answers, asked.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn what_is_refused_of_one_does_not_take_the_others_with_it() {
        assert_eq!(doubled(&[1, 2], 9, false).await, (vec![Some(2), Some(4)], 1));
        assert_eq!(
            doubled(&[1, 9, 2], 9, false).await,
            (vec![Some(2), None, Some(4)], 4)
        );
    }

    #[tokio::test]
    async fn nobody_is_asked_again_where_that_cannot_help() {
        assert_eq!(doubled(&[1, 9], 9, true).await, (vec![None, None], 1));
        assert_eq!(doubled(&[9], 9, false).await, (vec![None], 1));
        assert_eq!(doubled(&[], 9, false).await, (Vec::new(), 1));
    }

    #[tokio::test]
    async fn a_panic_ends_its_own_questions_only() {
        let gather = doubles(&Arc::new(Semaphore::new(10)), 1, 1);
        assert_eq!(gather.ask(13).await, None);
        assert_eq!(gather.ask(1).await, Some((2, 1)));
    }
}
