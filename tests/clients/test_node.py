"""JavaScript clients, by base URL alone; skipped without node, and what package.json names beside the venv."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from asked import DOCUMENTS, QUERY, ranked

HOME = Path(sys.prefix)
pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (HOME / "node_modules/ai").exists(), reason="no node, or no npm install"
)

AI_SDK = """
import { rerank } from "ai"
import { createCohere } from "@ai-sdk/cohere"
const { root, key, query, documents } = JSON.parse(process.argv[2])
const cohere = createCohere({ baseURL: root + "/v2", apiKey: key })
const { ranking } = await rerank({ model: cohere.reranking("rerank-v3.5"), query, documents, topN: 3 })
console.log(JSON.stringify(ranking.map(one => [one.originalIndex, one.score])))
"""
AI_SDK_REFUSED = """
import { rerank } from "ai"
import { createCohere } from "@ai-sdk/cohere"
const { root, query, documents } = JSON.parse(process.argv[2])
const model = createCohere({ baseURL: root + "/v2", apiKey: "wrong" }).reranking("rerank-v3.5")
try { await rerank({ model, query, documents }) } catch (e) { console.log(JSON.stringify([e.statusCode, e.message])) }
"""
COHERE = """
import { CohereClientV2 } from "cohere-ai"
const { root, key, query, documents } = JSON.parse(process.argv[2])
const cohere = new CohereClientV2({ environment: root, token: key })
const { results } = await cohere.rerank({ model: "rerank-v3.5", query, documents, topN: 3 })
console.log(JSON.stringify(results.map(one => [one.index, one.relevanceScore])))
"""


def _run(script, root, key):
    ask = json.dumps({"root": root, "key": key, "query": QUERY, "documents": DOCUMENTS})
    done = subprocess.run(
        ["node", "--input-type=module", "-", ask],
        input=script, cwd=HOME, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("script", [AI_SDK, COHERE], ids=["Vercel AI SDK", "cohere-ai"])
def test_rerank(root, key, script):
    found = _run(script, root, key)
    ranked([index for index, _ in found], [score for _, score in found], expected=3)


def test_a_wrong_key(root, key):
    status, message = _run(AI_SDK_REFUSED, root, key)
    assert status == 401
    assert "key" in message
