//! How a prompt becomes tokens: the terse format of the built-in model, or the chat format of a public
//! checkpoint, recognised by the special tokens of its tokenizer.

use crate::model::{Prompt, PromptStyle};
use crate::tokenizer::Tokenizer;

/// The format that a tokenizer's special tokens tell of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChatFormat {
    /// System and user text as they are, with special tokens in them.
    Terse,
    /// `<|im_start|>role\n...<|im_end|>\n` (Qwen).
    ChatMl,
    /// `<|start_header_id|>role<|end_header_id|>\n\n...<|eot_id|>` (Llama 3).
    Llama3,
}

impl ChatFormat {
    /// The format of the model that this tokenizer belongs to; terse when no chat format is known.
    pub(super) fn of(tokenizer: &Tokenizer) -> Self {
        let has = |name| tokenizer.special(name).is_some();
        if has("<|mine|>") {
            Self::Terse
        } else if has("<|im_start|>") && has("<|im_end|>") {
            Self::ChatMl
        } else if has("<|start_header_id|>") && has("<|eot_id|>") {
            Self::Llama3
        } else {
            Self::Terse
        }
    }

    /// The prompts that suit the model.
    pub(super) fn style(self) -> PromptStyle {
        match self {
            Self::Terse => PromptStyle::Terse,
            Self::ChatMl | Self::Llama3 => PromptStyle::Prose,
        }
    }

    /// Tokens of the prompt up to where the answer begins. Chat formats read the messages as text, so
    /// that nothing in them can end its message; the terse format trusts them (see [`Prompt::user`]).
    pub(super) fn encode(self, prompt: &Prompt, tokenizer: &Tokenizer) -> Vec<u32> {
        let system = prompt.system.as_deref();
        if self == Self::Terse {
            return tokenizer.encode_prompt(&[system.unwrap_or_default(), &prompt.user].concat());
        }
        let mut tokens: Vec<u32> = tokenizer.special("<|begin_of_text|>").into_iter().collect();
        let messages =
            system.map(|text| ("system", text)).into_iter().chain([("user", &*prompt.user)]);
        for (role, text) in messages {
            tokens.extend(tokenizer.encode_prompt(&self.head(role)));
            // Llama's own template trims messages; Qwen's does not.
            let text = if self == Self::Llama3 { text.trim() } else { text };
            tokens.extend(tokenizer.encode(text));
            tokens.extend(tokenizer.encode_prompt(self.tail()));
        }
        tokens.extend(tokenizer.encode_prompt(&self.head("assistant")));
        if self == Self::ChatMl && tokenizer.added("<think>").is_some() {
            // Qwen3's own way to answer without thinking aloud.
            tokens.extend(tokenizer.encode_prompt("<think>\n\n</think>\n\n"));
        }
        tokens
    }

    fn head(self, role: &str) -> String {
        match self {
            Self::Terse => String::new(),
            Self::ChatMl => format!("<|im_start|>{role}\n"),
            Self::Llama3 => format!("<|start_header_id|>{role}<|end_header_id|>\n\n"),
        }
    }

    fn tail(self) -> &'static str {
        match self {
            Self::Terse => "",
            Self::ChatMl => "<|im_end|>\n",
            Self::Llama3 => "<|eot_id|>",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ChatFormat;
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
            let tokens = format.encode(&prompt, &tokenizer);
            let text: String = tokens
                .iter()
                .map(|&t| tokenizer.special_name(t).unwrap_or_else(|| tokenizer.decode(&[t])))
                .collect();
            assert_eq!(text, want);
            assert_eq!(tokens.iter().filter(|&&t| tokenizer.is_special(t)).count(), want_specials);
        };
        check(&SPECIALS, PromptStyle::Terse, "be briefhi<|im_end|><|eot_id|>", 0);
        let want = "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nhi<|im_end|><|eot_id|>\
                    <|im_end|>\n<|im_start|>assistant\n";
        check(&["<|im_start|>", "<|im_end|>"], PromptStyle::Prose, want, 5);
        let want = "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nbe brief<|eot_id|>\
                    <|start_header_id|>user<|end_header_id|>\n\nhi<|im_end|><|eot_id|><|eot_id|>\
                    <|start_header_id|>assistant<|end_header_id|>\n\n";
        let llama = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"];
        check(&llama, PromptStyle::Prose, want, 9);
    }
}
