"""Moderation and classification through OpenAI's and Hugging Face's own libraries."""

import asyncio

import openai
import pytest
from asked import ATTACK, GREETING
from huggingface_hub import AsyncInferenceClient, InferenceClient


@pytest.fixture
def client(root, key):
    return openai.OpenAI(base_url=f"{root}/v1", api_key=key, max_retries=0)


def test_openai_flags_an_attack_and_no_greeting(client):
    found = client.moderations.create(input=[ATTACK, GREETING], model="omni-moderation-latest")
    assert [one.flagged for one in found.results] == [True, False]
    attack, greeting = (one.category_scores.model_extra["injection:injection"] for one in found.results)
    assert 1 >= attack > 0.5 > greeting >= 0
    assert found.id.startswith("modr-")


def test_openai_reads_every_category(client):
    result = client.moderations.create(input=GREETING).results[0]
    assert {value for value in result.categories.model_dump().values()} == {False}
    assert all(0 <= value <= 1 for value in result.category_scores.model_dump().values())
    assert result.categories.self_harm_intent is False
    assert result.category_applied_input_types.harassment == ["text"]


def test_openai_reads_parts_as_one(client):
    parts = [{"type": "text", "text": GREETING}, {"type": "text", "text": ATTACK}]
    assert [one.flagged for one in client.moderations.create(input=parts).results] == [True]


def test_openai_async(root, key):
    async def ask():
        async with openai.AsyncOpenAI(base_url=f"{root}/v1", api_key=key) as client:
            return await client.moderations.create(input=[GREETING, ATTACK])

    assert [one.flagged for one in asyncio.run(ask()).results] == [False, True]


def test_openai_lists_models(client):
    assert "default" in [one.id for one in client.models.list()]


def test_hugging_face(root, key):
    client = InferenceClient(f"{root}/predict", token=key)
    attack = {one.label: one.score for one in client.text_classification(ATTACK)}
    greeting = {one.label: one.score for one in client.text_classification(GREETING)}
    assert attack["injection:injection"] > 0.5 > greeting["injection:injection"]
    assert greeting["intent:greeting"] > attack["intent:greeting"]
    assert list(attack.values()) == sorted(attack.values(), reverse=True)


def test_hugging_face_async(root, key):
    found = asyncio.run(AsyncInferenceClient(f"{root}/tei/predict", token=key).text_classification(ATTACK))
    assert found[0].label in ("injection:injection", "jailbreak:jailbreak")


def test_hugging_face_chooses(root, key):
    client = InferenceClient(f"{root}/predict", token=key)
    found = client.text_classification(ATTACK, top_k=2, function_to_apply="none")
    assert len(found) == 2
    assert found[0].score > 1  # log-odds
