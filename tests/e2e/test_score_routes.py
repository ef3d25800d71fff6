"""The routes of scores as strangers meet them: strict bodies, statuses, who needs a token, proofs that verify."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest

from minimon_server.scores.merkle import EMPTY_ROOT, leaf_hash, proves_consistency, proves_inclusion
from minimon_server.scores.notes import Checkpoint, open_note
from minimon_server.scores.proofs import ReadProof
from tests.e2e.score_server import JSON, Answered, Asker, ScoreServer, acknowledged, id_of, ring_of

TOKEN = "mytoken"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
NOBODY = "mnm_0123456789abcdef01234567"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScoreServer]:
    with ScoreServer(tmp_path_factory.mktemp("routes"), MINIMON_BEARER_TOKEN=TOKEN) as running:
        yield running


@pytest.fixture
def asker(server: ScoreServer) -> Asker:
    return server.asker


def certify(asker: Asker, body: bytes, **headers: str) -> Answered:
    return asker.ask("POST", "/v1/certify-score", body, **BEARER, **headers)


BAD = {
    "a member twice": (b'{"score":1,"score":1,"subject":"a"}', "score"),
    "an unknown member": (b'{"score":1,"subject":"a","x":1}', "x"),
    "no score": (b'{"subject":"a"}', "score"),
    "no subject": (b'{"score":1}', "subject"),
    "NaN": (b'{"score":NaN,"subject":"a"}', "score"),
    "Infinity": (b'{"score":-Infinity,"subject":"a"}', "score"),
    "a boolean as number": (b'{"score":true,"subject":"a"}', "score"),
    "a string as number": (b'{"score":"1","subject":"a"}', "score"),
    "null": (b'{"score":null,"subject":"a"}', "score"),
    "negative zero": (b'{"score":-0,"subject":"a"}', "score"),
    "negative zero with a fraction": (b'{"score":-0.0,"subject":"a"}', "score"),
    "not exact": (b'{"score":0.1000000000000000055511,"subject":"a"}', "score"),
    "2^53": (b'{"score":9007199254740992,"subject":"a"}', "score"),
    "beyond a double": (b'{"score":1e400,"subject":"a"}', "score"),
    "a byte order mark": (b'\xef\xbb\xbf{"score":1,"subject":"a"}', "body"),
    "invalid UTF-8": (b'{"score":1,"subject":"\xff"}', "body"),
    "a lone surrogate": (b'{"score":1,"subject":"\\ud800"}', "subject"),
    "a control character": (b'{"score":1,"subject":"\\u0007"}', "subject"),
    "a character of direction": (b'{"score":1,"subject":"\\u202e"}', "subject"),
    "a noncharacter": (b'{"score":1,"subject":"\\uffff"}', "subject"),
    "not NFC": (b'{"score":1,"subject":"e\\u0301"}', "subject"),
    "an empty subject": (b'{"score":1,"subject":""}', "subject"),
    "a subject of 513 bytes": (b'{"score":1,"subject":"%b"}' % (b"a" * 513), "subject"),
    "an empty nonce": (b'{"score":1,"subject":"a","nonce":""}', "nonce"),
    "a nonce of 129 bytes": (b'{"score":1,"subject":"a","nonce":"%b"}' % (b"a" * 129), "nonce"),
    "a null nonce": (b'{"score":1,"subject":"a","nonce":null}', "nonce"),
    "no object": (b"[]", "body"),
    "no JSON": (b"{", "body"),
    "nothing": (b"", "body"),
    "more after it": (b'{"score":1,"subject":"a"}{}', "body"),
}


@pytest.mark.parametrize(("body", "field"), BAD.values(), ids=BAD.keys())
def test_each_rule_of_the_body_is_a_422_that_names_its_field(asker: Asker, body: bytes, field: str) -> None:
    told = {}
    for language in ("fr", "en"):
        refused = certify(asker, body, Accept_Language=language)
        assert (refused.status, refused.json["code"]) == (422, "INVALID_REQUEST"), refused
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.headers["content-language"] == language
        (mistake,) = refused.json["errors"]
        assert mistake["field"] == field
        told[language] = mistake["message"]
    assert told["fr"] != told["en"]


def test_what_the_rules_allow_is_taken_and_written_canonically(asker: Asker) -> None:
    for literal, canonical in {"100.0": "100", "1e2": "100", "123.40": "123.4", "-9007199254740991": None}.items():
        answer = certify(asker, b'{"score":%b,"subject":"%b"}' % (literal.encode(), b"a" * 512))
        signed = json.loads(acknowledged(answer))["signed"]
        assert f'"score":{canonical or literal},' in base64.b64decode(signed["canonicalB64"]).decode()


def test_bodies_that_are_too_large_or_no_json_are_refused(asker: Asker) -> None:
    large = certify(asker, b'{"score":1,"subject":"a"}' + b" " * 16 * 1024)
    assert (large.status, large.json["code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert [one["field"] for one in large.json["errors"]] == ["body"]
    for path in ("/v1/certify-score", "/v1/verify-score"):
        other = asker.ask("POST", path, b"{}", **BEARER, Content_Type="text/plain")
        assert (other.status, other.json["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
    unknown = asker.ask("POST", "/v1/certify-score?signature=der", b"{}", **BEARER)
    assert (unknown.status, unknown.json["errors"][0]["field"]) == (422, "signature")


def test_certifying_needs_the_token_and_the_public_side_needs_none(asker: Asker) -> None:
    body = b'{"score":1,"subject":"a"}'
    assert asker.ask("POST", "/v1/certify-score", body).status == 401
    assert asker.ask("POST", "/v1/certify-score", body, Authorization="Bearer wrong").status == 401
    certified = acknowledged(certify(asker, body))
    score_id = id_of(certified)
    assert asker.ask("POST", "/v1/verify-score", certified).json["recorded"] is True
    for path in (
        f"/v1/scores/{score_id}",
        f"/v1/ledger/proof/{score_id}",
        "/v1/ledger/checkpoint",
        "/v1/ledger/consistency?from=0",
        "/.well-known/jwks.json",
    ):
        got, head = asker.ask("GET", path), asker.ask("HEAD", path)
        assert (got.status, head.status) == (200, 200), path
        assert head.body == b""
        assert head.headers["content-length"] == str(len(got.body))
        assert head.headers["content-type"] == got.headers["content-type"]
        for method in ("POST", "PUT", "DELETE"):
            refused = asker.ask(method, path, None, **BEARER)
            assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD"), refused
    for path in ("/v1/certify-score", "/v1/verify-score"):
        refused = asker.ask("GET", path, None, **BEARER)
        assert (refused.status, refused.headers["allow"]) == (405, "POST"), refused


@pytest.mark.parametrize("score_id", [NOBODY, "mnm_", "x", NOBODY.upper(), NOBODY + "0", "mnm_%20", "%2e%2e"])
def test_an_id_that_is_not_in_the_ledger_is_a_404(asker: Asker, score_id: str) -> None:
    for path in ("/v1/scores/", "/v1/ledger/proof/"):
        answer = asker.ask("GET", path + score_id)
        assert (answer.status, answer.json["code"]) == (404, "NOT_FOUND"), answer


def test_a_score_that_was_changed_is_not_valid_and_not_recorded(asker: Asker) -> None:
    certified = json.loads(acknowledged(certify(asker, b'{"score":5,"subject":"cheat"}')))
    certified["signed"]["payload"]["score"] = 6
    verdict = asker.ask("POST", "/v1/verify-score", json.dumps(certified).encode(), Accept_Language="en").json
    assert (verdict["valid"], verdict["recorded"], verdict["index"]) == (False, False, None)
    assert verdict["reason"] == "PAYLOAD_MISMATCH"


def check_proofs(asker: Asker, certified: list[bytes], roots: dict[int, bytes]) -> None:
    """Each record under the present checkpoint, by both forms of proof, and every former root before this one."""
    logs = ring_of(asker).logs
    note = asker.ask("GET", "/v1/ledger/checkpoint")
    assert note.headers["content-type"].startswith("text/plain")
    checkpoint = Checkpoint.from_text(open_note(note.body, logs))
    roots[checkpoint.size] = checkpoint.root
    for answer in certified:
        path = f"/v1/ledger/proof/{id_of(answer)}"
        proof = asker.ask("GET", path).json
        leaf, root = leaf_hash(proof["record"].encode()), base64.b64decode(proof["rootHash"])
        hashes = [base64.b64decode(one) for one in proof["hashes"]]
        assert proof["record"].encode().startswith(answer[:-1])
        assert (base64.b64decode(proof["leafHash"]), root) == (leaf, checkpoint.root)
        assert proves_inclusion(proof["index"], checkpoint.size, leaf, hashes, root)
        assert ReadProof.from_json(proof).check(logs) == (checkpoint, None)
        text = asker.ask("GET", path, Accept="text/plain")
        assert text.headers["content-type"].startswith("text/plain")
        assert ReadProof.from_text(text.body.decode()).check(logs) == (checkpoint, None)
    for old, old_root in roots.items():
        grown = asker.ask("GET", f"/v1/ledger/consistency?from={old}&to={checkpoint.size}").json
        assert (base64.b64decode(grown["fromRootHash"]), grown["from"], grown["to"]) == (old_root, old, checkpoint.size)
        hashes = [base64.b64decode(one) for one in grown["hashes"]]
        assert proves_consistency(old, checkpoint.size, old_root, checkpoint.root, hashes)
        assert base64.b64decode(grown["toRootHash"]) == checkpoint.root


def test_proofs_of_a_ledger_that_grows_verify(asker: Asker) -> None:
    certified: list[bytes] = []
    roots = {0: EMPTY_ROOT}
    for number in range(9):
        certified.append(acknowledged(certify(asker, b'{"score":%d,"subject":"grows"}' % number)))
        check_proofs(asker, certified, roots)
    size = max(roots)
    for query, field in {
        f"from={size + 1}": "from",
        f"from=0&to={size + 1}": "to",
        "from=-1": "from",
        "": "from",
    }.items():
        refused = asker.ask("GET", f"/v1/ledger/consistency?{query}")
        assert refused.status == 422, refused
        assert refused.json["errors"][0]["field"] == field


def test_the_same_is_said_over_https(server: ScoreServer) -> None:
    with server.client() as client:
        answer = client.post("/v1/certify-score", content=b'{"score":1,"subject":"tls"}', headers={**JSON, **BEARER})
        assert answer.status_code == 200
        score_id = answer.json()["signed"]["payload"]["id"]
        assert client.get(f"/v1/scores/{score_id}").content == answer.content
