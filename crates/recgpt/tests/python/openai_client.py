"""The `openai` package against `recgpt lm serve`: python openai_client.py http://127.0.0.1:8000/v1

Asserts what users of the package rely on; prints one line when all holds.
"""

import json
import sys

import openai

PROMPT = "<|mine|>2026-11 autumn|34,female,Lyon,flat\n3d(cart,search:trail shoes)|trail running shoes\n<|interests|>"


def main(base_url):
    client = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0)
    models = [model.id for model in client.models.list()]
    assert models == ["builtin"], models
    ask = {"model": "builtin", "messages": [{"role": "user", "content": PROMPT}], "temperature": 0, "max_tokens": 24}

    whole = client.chat.completions.create(**ask)
    text = whole.choices[0].message.content
    assert text and whole.choices[0].finish_reason == "length", whole
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + 24, whole.usage

    stream = client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == text and len(pieces) > 5, pieces
    assert chunks[-1].usage == whole.usage, chunks[-1]

    completion = client.completions.create(model="builtin", prompt=PROMPT, temperature=0, max_tokens=24)
    assert completion.choices[0].text == text, completion

    schema = {
        "type": "object",
        "properties": {"stage": {"enum": ["long", "short"]}, "n": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["stage", "n"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "stage", "strict": True, "schema": schema}}
    answer = client.chat.completions.create(**ask, response_format=form)
    value = json.loads(answer.choices[0].message.content)
    assert value["stage"] in ("long", "short") and isinstance(value["n"], int), value

    several = client.chat.completions.create(**{**ask, "temperature": 1.5}, n=3, seed=1)
    assert len({choice.message.content for choice in several.choices}) > 1, several

    for change, error in [
        ({"model": "other"}, openai.NotFoundError),
        ({"max_tokens": 100_000}, openai.BadRequestError),
        ({"logprobs": True}, openai.BadRequestError),
    ]:
        try:
            client.chat.completions.create(**{**ask, **change})
        except error as refused:
            assert refused.body["message"], refused
        else:
            raise AssertionError(f"{change} was not refused")
    print(f"openai {openai.__version__}: all holds")


if __name__ == "__main__":
    main(sys.argv[1])
