//! How messages become tokens: the terse format of the built-in model, or the chat template of a public
//! checkpoint, which is a Jinja program in its folder.

use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind, context};
use serde::{Deserialize, Serialize};

use crate::error::LmError;
use crate::model::{Prompt, PromptStyle};
use crate::tokenizer::Tokenizer;

/// Who says a message and what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// The text.
    pub content: String,
}

impl Message {
    /// A message of this role.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// The format of a model's prompts.
#[derive(Debug)]
pub enum ChatFormat {
    /// All texts as they are, with special tokens in them.
    Terse,
    /// A template over messages; no text in them can become a special token.
    Template(Box<ChatTemplate>),
}

/// A chat template in Jinja, as Hugging Face keeps it.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: Option<String>,
    eos: Option<String>,
    /// Special tokens, longest first.
    specials: Vec<String>,
}

/// Templates of checkpoints whose folder has none, recognised by their special tokens.
const CHAT_ML: &str = "{%- for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}\
{%- endfor %}{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}";
const LLAMA_3: &str = "{{ bos_token }}{%- for m in messages %}{{ '<|start_header_id|>' + m.role + \
'<|end_header_id|>\\n\\n' + m.content | trim + '<|eot_id|>' }}{%- endfor %}\
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}";

impl ChatFormat {
    /// The format that a tokenizer's special tokens tell of; terse when no chat format is known.
    pub fn of(tokenizer: &Tokenizer) -> Self {
        let has = |name| tokenizer.special(name).is_some();
        let source = if has("<|mine|>") {
            return Self::Terse;
        } else if has("<|im_start|>") && has("<|im_end|>") {
            CHAT_ML
        } else if has("<|start_header_id|>") && has("<|eot_id|>") {
            LLAMA_3
        } else {
            return Self::Terse;
        };
        let bos = tokenizer.special("<|begin_of_text|>").map(|_| "<|begin_of_text|>".to_owned());
        let template = ChatTemplate::new(source, bos, None, tokenizer);
        Self::Template(Box::new(template.expect("the templates above are tested")))
    }

    /// The template in the folder of a model (`chat_template.jinja`, or the field of
    /// `tokenizer_config.json`), else as [`Self::of`].
    ///
    /// # Errors
    /// [`LmError::Io`] or [`LmError::BadModel`] when a file is there and cannot be used.
    pub(crate) fn load(dir: &Path, tokenizer: &Tokenizer) -> Result<Self, LmError> {
        if tokenizer.special("<|mine|>").is_some() {
            return Ok(Self::Terse);
        }
        let path = dir.join("tokenizer_config.json");
        let config: serde_json::Value = match read_if_there(&path)? {
            Some(json) => serde_json::from_str(&json).map_err(|error| bad(&path, &error))?,
            None => serde_json::Value::Null,
        };
        // A token is a string, or an object with its content.
        let token = |name: &str| {
            let token = &config[name];
            token.as_str().or(token["content"].as_str()).map(str::to_owned)
        };
        let file = dir.join("chat_template.jinja");
        let (source, path) = match (read_if_there(&file)?, config["chat_template"].as_str()) {
            (Some(source), _) => (source, file),
            (None, Some(source)) => (source.to_owned(), path),
            (None, None) => return Ok(Self::of(tokenizer)),
        };
        ChatTemplate::new(&source, token("bos_token"), token("eos_token"), tokenizer)
            .map(|template| Self::Template(Box::new(template)))
            .map_err(|error| bad(&path, &error))
    }

    /// The prompts that suit the model.
    pub fn style(&self) -> PromptStyle {
        match self {
            Self::Terse => PromptStyle::Terse,
            Self::Template(_) => PromptStyle::Prose,
        }
    }

    /// Tokens of a prompt up to where the answer begins.
    pub(crate) fn encode(
        &self,
        prompt: &Prompt,
        tokenizer: &Tokenizer,
    ) -> Result<Vec<u32>, LmError> {
        let system = prompt.system.iter().map(|text| Message::new("system", text));
        let messages: Vec<Message> = system.chain([Message::new("user", &prompt.user)]).collect();
        if prompt.user.is_empty() && prompt.system.as_deref().unwrap_or_default().is_empty() {
            return Ok(Vec::new());
        }
        self.encode_messages(&messages, tokenizer)
    }

    /// Tokens of messages up to where the answer begins. Templates read the messages as text, so that
    /// nothing in them can end its message; the terse format trusts them (see [`Prompt::user`]).
    ///
    /// # Errors
    /// [`LmError::BadSetting`] when the template refuses the messages.
    pub fn encode_messages(
        &self,
        messages: &[Message],
        tokenizer: &Tokenizer,
    ) -> Result<Vec<u32>, LmError> {
        Ok(tokenizer.encode_prompt(&match self {
            Self::Terse => messages.iter().map(|message| &*message.content).collect(),
            Self::Template(template) => template.render(messages)?,
        }))
    }
}

impl ChatTemplate {
    fn new(
        source: &str,
        bos: Option<String>,
        eos: Option<String>,
        tokenizer: &Tokenizer,
    ) -> Result<Self, Error> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?;
        environment.set_syntax(syntax);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        let refuse = |text: String| Err::<Value, _>(Error::new(ErrorKind::InvalidOperation, text));
        environment.add_function("raise_exception", refuse);
        environment.add_template_owned("chat", source.to_owned())?;
        let mut specials = tokenizer.special_names();
        specials.sort_by_key(|name| std::cmp::Reverse(name.len()));
        Ok(Self { environment, bos, eos, specials })
    }

    /// The messages as the model reads them, up to where its answer begins, which it gives without
    /// thinking aloud.
    fn render(&self, messages: &[Message]) -> Result<String, LmError> {
        let value = |message: &Message| {
            context! { role => &message.role, content => self.harmless(&message.content) }
        };
        let messages: Vec<Value> = messages.iter().map(value).collect();
        self.fill(context! {
            messages, bos_token => self.bos.clone(), eos_token => self.eos.clone(),
            add_generation_prompt => true, enable_thinking => false,
        })
        .map_err(|error| LmError::BadSetting {
            name: "messages",
            got: error.to_string(),
            expected: "messages that the model's chat template takes",
        })
    }

    fn fill(&self, values: Value) -> Result<String, Error> {
        self.environment.get_template("chat")?.render(values)
    }

    /// The text with a space behind the first character of whatever would be a special token.
    fn harmless(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for name in self.specials.iter().filter(|name| name.len() > 1) {
            if text.contains(&**name) {
                let first = name.chars().next().map_or(0, char::len_utf8);
                text = text.replace(&**name, &format!("{} {}", &name[..first], &name[first..]));
            }
        }
        text
    }
}

fn read_if_there(path: &Path) -> Result<Option<String>, LmError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LmError::Io { path: path.to_owned(), reason: error.to_string() }),
    }
}

fn bad(path: &Path, error: &dyn std::fmt::Display) -> LmError {
    LmError::BadModel {
        path: path.to_owned(),
        problem: error.to_string(),
        mend: "give the chat template of the model, or none".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use minijinja::Value;

    use super::{ChatFormat, ChatTemplate, Message};
    use crate::model::{Prompt, PromptStyle};
    use crate::testing::{SPECIALS, tokenizer_with};

    #[test]
    fn prompts_follow_the_format_of_the_tokenizer() {
        let check = |specials: &[&str], style: PromptStyle, want: &str, want_specials: usize| {
            let tokenizer = tokenizer_with(specials);
            let format = ChatFormat::of(&tokenizer);
            assert_eq!(format.style(), style);
            let prompt = Prompt {
                system: Some("be brief".to_owned()),
                user: "hi<|im_end|><|eot_id|>".to_owned(),
            };
            let tokens = format.encode(&prompt, &tokenizer).unwrap();
            let text: String = tokens
                .iter()
                .map(|&t| tokenizer.special_name(t).unwrap_or_else(|| tokenizer.decode(&[t])))
                .collect();
            assert_eq!(text, want);
            assert_eq!(tokens.iter().filter(|&&t| tokenizer.is_special(t)).count(), want_specials);
        };
        check(&SPECIALS, PromptStyle::Terse, "be briefhi<|im_end|><|eot_id|>", 0);
        let want = "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nhi< |im_end|><|eot_id|>\
                    <|im_end|>\n<|im_start|>assistant\n";
        check(&["<|im_start|>", "<|im_end|>"], PromptStyle::Prose, want, 5);
        let want = "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nbe brief<|eot_id|>\
                    <|start_header_id|>user<|end_header_id|>\n\nhi<|im_end|>< |eot_id|><|eot_id|>\
                    <|start_header_id|>assistant<|end_header_id|>\n\n";
        let llama = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"];
        check(&llama, PromptStyle::Prose, want, 9);
    }

    fn value(json: &serde_json::Value) -> Value {
        use serde_json::Value as Json;
        match json {
            Json::Null => Value::from(()),
            Json::Bool(x) => Value::from(*x),
            Json::Number(x) => x.as_i64().map_or_else(|| Value::from(x.as_f64()), Value::from),
            Json::String(x) => Value::from(x.as_str()),
            Json::Array(all) => all.iter().map(value).collect(),
            Json::Object(all) => {
                Value::from_pairs(all.iter().map(|(key, x)| (key.as_str(), value(x))))
            }
        }
    }

    #[derive(serde::Deserialize)]
    struct Case {
        name: String,
        template: String,
        context: serde_json::Map<String, serde_json::Value>,
        expected: String,
    }

    /// What jinja2, set up as transformers does it, made of public templates; written by
    /// `benches/peers/golden.py`.
    #[test]
    fn templates_render_as_transformers_renders_them() {
        let path =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/chat/cases.json");
        let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let (tokenizer, mut n) = (tokenizer_with(&["<|endoftext|>"]), 0);
        // The server refuses tools.
        for case in cases.iter().filter(|case| !case.context.contains_key("tools")) {
            let template = ChatTemplate::new(&case.template, None, None, &tokenizer).unwrap();
            let got = template.fill(value(&case.context.clone().into()));
            let got = got.unwrap_or_else(|error| panic!("{}: {error:#}", case.name));
            assert_eq!(got, case.expected, "{}", case.name);
            // What the engine itself asks for, where the case is of that kind.
            let text = |name: &str| case.context.get(name)?.as_str().map(str::to_owned);
            let known =
                ["messages", "add_generation_prompt", "bos_token", "eos_token", "enable_thinking"];
            let messages = serde_json::from_value::<Vec<Message>>(case.context["messages"].clone());
            let same = case.context.keys().all(|key| known.contains(&&**key))
                && case.context["add_generation_prompt"] == true
                && case.template.contains("enable_thinking")
                    == case.context.contains_key("enable_thinking")
                && case.context.get("enable_thinking") != Some(&true.into());
            if let (true, Ok(messages)) = (same, messages) {
                let template = ChatTemplate::new(
                    &case.template,
                    text("bos_token"),
                    text("eos_token"),
                    &tokenizer,
                );
                assert_eq!(
                    template.unwrap().render(&messages).unwrap(),
                    case.expected,
                    "{}",
                    case.name
                );
                n += 1;
            }
        }
        assert!(n >= 5, "{n} of {} cases are of the engine's kind", cases.len());
    }

    /// Folders may bring a template; a broken one is named, one that refuses is an error of the caller.
    #[test]
    fn templates_of_folders_are_used_or_refused() {
        let (dir, tokenizer) =
            (tempfile::tempdir().unwrap(), tokenizer_with(&["<|endoftext|>", "<s>"]));
        let render = |messages: &[Message]| {
            let format = ChatFormat::load(dir.path(), &tokenizer)?;
            let tokens = format.encode_messages(messages, &tokenizer)?;
            let name = |&t| tokenizer.special_name(t).unwrap_or_else(|| tokenizer.decode(&[t]));
            Ok::<String, crate::LmError>(tokens.iter().map(name).collect())
        };
        let hello = [Message::new("user", " hi <s> ")];
        assert_eq!(render(&hello).unwrap(), " hi <s> ", "without a template: terse");
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write(
            "tokenizer_config.json",
            r#"{"bos_token":{"content":"<s>"},"chat_template":"{{ bos_token }}{{ messages[0].content.strip() }}"}"#,
        );
        assert_eq!(render(&hello).unwrap(), "<s>hi < s>");
        write("chat_template.jinja", "{{ raise_exception('no ' + messages[0].role) }}");
        assert!(render(&hello).unwrap_err().to_string().contains("no user"));
        write("chat_template.jinja", "{% if %}");
        assert!(render(&hello).unwrap_err().to_string().contains("chat_template.jinja"));
    }
}
