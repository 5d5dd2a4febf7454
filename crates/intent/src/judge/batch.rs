//! Judging the interests and tags of many users at once; one bad reply never stops the others.

use lm::{Completion, LanguageModel, LmError, PromptStyle, Request};
use serde::{Deserialize, Serialize};
use types::{Criterion, Digest, Interest, InterestProfile, Judge, Judgement, Tag, User};

use crate::issue::ParseIssue;
use crate::judge::parse::{Asked, parse_judgements, passes};
use crate::judge::question::{InterestQuestion, Questions, TAGS_PER_QUESTION, TagQuestion};
use crate::judge::request::{JudgeSubject, judge_request};
use crate::judge::score::pass_probabilities;
use crate::prompt::Lang;

/// How a batch is judged.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeOptions {
    /// Language of prompts in prose.
    pub lang: Lang,
    /// Most tokens of one answer.
    pub max_tokens: usize,
    /// Whether answers are held to their grammar or schema while they are written.
    pub constrain: bool,
    /// Whether the probabilities behind the labels are wanted: one more reading of every prompt, and
    /// for terse answers only.
    pub probabilities: bool,
    /// Requests per call of the model, between two reports of progress.
    pub chunk: usize,
}

impl JudgeOptions {
    /// Answers of at most so many tokens, held to their form, without probabilities.
    #[must_use]
    pub fn new(max_tokens: usize) -> Self {
        Self { lang: Lang::En, max_tokens, constrain: true, probabilities: false, chunk: 64 }
    }
}

/// Reports (done, total) requests.
type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// What a judge reads of a user.
#[derive(Debug, Clone, Copy)]
pub struct JudgeInput<'a> {
    /// Who.
    pub user: &'a User,
    /// What they did.
    pub digest: &'a Digest,
    /// Interests to judge.
    pub profile: &'a InterestProfile,
    /// Tags to judge; may be empty.
    pub tags: &'a [Tag],
}

/// One interest or tag after judging.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgedSubject {
    /// Its text.
    pub text: String,
    /// One judgement per criterion; empty where the judge did not answer. Of evidence that does not
    /// exist there is the one judgement on reasonableness, which no model made.
    pub judgements: Vec<Judgement>,
    /// p(passes) of each judgement; empty where not asked for or not known.
    pub probabilities: Vec<f64>,
}

impl JudgedSubject {
    /// Whether it was judged and passes every criterion.
    #[must_use]
    pub fn passes(&self) -> bool {
        passes(&self.judgements)
    }

    /// p(passes every criterion) as the product of the criteria's, each given the labels before it;
    /// `None` where probabilities are not known. For a threshold other than the model's own choice.
    #[must_use]
    pub fn probability(&self) -> Option<f64> {
        (!self.probabilities.is_empty()).then(|| self.probabilities.iter().product())
    }
}

/// The verdicts about one user.
#[derive(Debug)]
pub struct JudgedUser {
    /// Whose.
    pub user_id: String,
    /// Verdict `i` is about interest `i` of the profile.
    pub interests: Vec<JudgedSubject>,
    /// Verdict `i` is about tag `i`.
    pub tags: Vec<JudgedSubject>,
    /// What was wrong with the answers.
    pub issues: Vec<ParseIssue>,
    /// Why the model did not answer; the last failure where there were several.
    pub error: Option<LmError>,
    /// Tokens of all prompts and answers.
    pub tokens: (usize, usize),
}

/// One request: whose, and about what.
struct Job<'a> {
    input: usize,
    about: About<'a>,
}

enum About<'a> {
    Interest(usize, &'a Interest, InterestQuestion),
    Tags(Vec<usize>, Vec<&'a Tag>, TagQuestion),
}

impl About<'_> {
    fn subject(&self) -> JudgeSubject<'_> {
        match self {
            Self::Interest(_, interest, question) => JudgeSubject::Interest(interest, question),
            Self::Tags(_, tags, question) => JudgeSubject::Tags(tags, question),
        }
    }
}

/// Judges the interests and tags of many users; outcome `i` belongs to input `i`. Evidence that the
/// digest does not hold is judged in code. Tags are asked about by interest, a few at a time.
#[must_use]
pub fn judge_batch(
    model: &dyn LanguageModel,
    inputs: &[JudgeInput<'_>],
    options: &JudgeOptions,
    progress: Progress<'_>,
) -> Vec<JudgedUser> {
    let judge = Judge::Model(model.name().to_owned());
    let mut judged: Vec<JudgedUser> = inputs.iter().map(unjudged).collect();
    let mut jobs = Vec::new();
    for (idx, input) in inputs.iter().enumerate() {
        jobs.extend(jobs_of(idx, input, &judge, &mut judged[idx]));
    }
    let request = |job: &Job<'_>| {
        let JudgeInput { user, digest, .. } = inputs[job.input];
        let subject = job.about.subject();
        let max_tokens = options.max_tokens;
        let mut request =
            judge_request(model.style(), options.lang, (user, digest), &subject, max_tokens);
        if !options.constrain {
            request.constraint = None;
        }
        request
    };
    let mut n_done = 0;
    for jobs_now in jobs.chunks(options.chunk.max(1)) {
        let requests: Vec<Request> = jobs_now.iter().map(request).collect();
        let mut replies = model.generate(&requests).into_iter();
        for (job, request) in jobs_now.iter().zip(&requests) {
            let user = &mut judged[job.input];
            match replies.next() {
                Some(Ok(completion)) => {
                    take(user, job, (model, options), (request, &completion), &judge);
                }
                Some(Err(error)) => user.error = Some(error),
                None => user.error = Some(crate::batch::missing_reply(model)),
            }
        }
        n_done += jobs_now.len();
        progress(n_done as u64, jobs.len() as u64);
    }
    judged
}

fn unjudged(input: &JudgeInput<'_>) -> JudgedUser {
    let subject = |text: &String| JudgedSubject {
        text: text.clone(),
        judgements: Vec::new(),
        probabilities: Vec::new(),
    };
    JudgedUser {
        user_id: input.digest.user_id.clone(),
        interests: input.profile.interests.iter().map(|i| subject(&i.text)).collect(),
        tags: input.tags.iter().map(|t| subject(&t.text)).collect(),
        issues: Vec::new(),
        error: None,
        tokens: (0, 0),
    }
}

/// What a model must be asked about a user; what needs no model is judged at once.
fn jobs_of<'a>(
    idx: usize,
    input: &JudgeInput<'a>,
    judge: &Judge,
    judged: &mut JudgedUser,
) -> Vec<Job<'a>> {
    let questions = Questions::new(input.user, input.digest);
    let mut jobs = Vec::new();
    for (row, interest) in input.profile.interests.iter().enumerate() {
        match questions.interest(interest) {
            Ok(question) => {
                jobs.push(Job { input: idx, about: About::Interest(row, interest, question) });
            }
            Err(_) => judged.interests[row].judgements.push(Judgement {
                user_id: judged.user_id.clone(),
                subject: interest.text.clone(),
                criterion: Criterion::Reasonableness,
                label: "hallucinated".to_owned(),
                passes: false,
                judge: judge.clone(),
            }),
        }
    }
    let names: Vec<&str> = input.profile.interests.iter().map(|i| i.text.as_str()).collect();
    for rows in by_interest(input.tags) {
        let context = questions.tag_context(&names, &input.tags[rows[0]].interest);
        for rows in rows.chunks(TAGS_PER_QUESTION) {
            let tags: Vec<&Tag> = rows.iter().map(|&row| &input.tags[row]).collect();
            let texts = tags.iter().map(|tag| tag.text.clone()).collect();
            let question = TagQuestion { context: context.clone(), tags: texts };
            jobs.push(Job { input: idx, about: About::Tags(rows.to_vec(), tags, question) });
        }
    }
    jobs
}

/// Rows of tags that serve the same interest, interests in order of first appearance.
fn by_interest(tags: &[Tag]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (row, tag) in tags.iter().enumerate() {
        match groups.iter_mut().find(|rows| tags[rows[0]].interest == tag.interest) {
            Some(rows) => rows.push(row),
            None => groups.push(vec![row]),
        }
    }
    groups
}

/// Reads an answer into the verdicts of its user.
fn take(
    user: &mut JudgedUser,
    job: &Job<'_>,
    (model, options): (&dyn LanguageModel, &JudgeOptions),
    (request, completion): (&Request, &Completion),
    judge: &Judge,
) {
    user.tokens.0 += completion.prompt_tokens;
    user.tokens.1 += completion.completion_tokens;
    let subject = job.about.subject();
    let (rubric, texts) = (subject.rubric(), subject.texts());
    let user_id = user.user_id.clone();
    let asked = Asked { user_id: &user_id, subjects: &texts, judge };
    let (rows, issues) = parse_judgements(model.style(), &completion.text, rubric, &asked);
    user.issues.extend(issues);
    let mut probabilities = vec![Vec::new(); rows.len()];
    if options.probabilities && model.style() == PromptStyle::Terse {
        match pass_probabilities(model, &request.prompt, rubric, &rows) {
            Ok(known) => probabilities = known,
            Err(error) => user.error = Some(error),
        }
    }
    let verdicts = rows.into_iter().zip(probabilities);
    let places: Vec<&mut JudgedSubject> = match &job.about {
        About::Interest(row, ..) => vec![&mut user.interests[*row]],
        About::Tags(rows, ..) => {
            let wanted = |(row, tag)| rows.contains(&row).then_some(tag);
            user.tags.iter_mut().enumerate().filter_map(wanted).collect()
        }
    };
    for (place, (judgements, probabilities)) in places.into_iter().zip(verdicts) {
        place.judgements = judgements;
        place.probabilities = probabilities;
    }
}
