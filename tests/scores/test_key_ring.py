"""The published keys: out as a JWKS, kept in a note, read back, and never lost when one takes another's place."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc.jwk import KeySet

from minimon_server.scores.evidence import self_vouched
from minimon_server.scores.key_ring import FINGERPRINTS, PURPOSE, VKEY, KeyRing
from minimon_server.scores.notes import BadNote, NoteKey, NoteSigner
from minimon_server.scores.public_keys import UnusableKey
from minimon_server.scores.signing import SigningKey
from tests.scores.ledgers import SIGNER, ring, signing_key

OTHER = SigningKey(generate_private_key(SECP384R1()))
LOG = NoteSigner("another", SigningKey(Ed25519PrivateKey.generate()))


def test_a_ring_goes_out_and_in() -> None:
    former = ring().with_score_key(OTHER.public).with_log_key(LOG.key)
    document = json.loads(json.dumps(former.jwks()))
    read = KeyRing.from_jwks(document)
    assert read.jwks() == former.jwks()
    assert [key.key_id for key in read.scores] == [OTHER.public.key_id, signing_key().public.key_id]
    assert read.logs == (LOG.key, SIGNER.key)
    assert read.get(OTHER.public.key_id)
    assert read.get("nobody's") is None
    assert [key.algorithm for key in read.candidates("ES384")] == ["ES384"]
    again = read.with_score_key(OTHER.public).with_log_key(LOG.key)
    assert again.jwks() == former.jwks()


def test_a_jose_library_takes_the_set() -> None:
    keys = KeySet.import_key_set(cast(Any, ring().jwks()))
    assert [key.kid for key in keys.keys] == [jwk["kid"] for jwk in ring().jwks()["keys"]]
    assert [key.thumbprint() for key in keys.keys] == [key.kid for key in keys.keys]


def test_fingerprints_of_former_certificates_stay() -> None:
    document = ring().jwks()
    document["keys"][0][FINGERPRINTS] = ["ab" * 32]
    key = signing_key().public
    assert KeyRing.from_jwks(document).with_score_key(key).fingerprints(key) == ["ab" * 32]
    assert ring().fingerprints(OTHER.public) == []


def test_keys_of_another_purpose_are_passed_over() -> None:
    document = ring().jwks()
    document["keys"].append({**document["keys"][0], PURPOSE: "something else"})
    assert len(KeyRing.from_jwks(document).scores) == 1


def test_the_note_keeps_it_and_only_its_signer_may_write_it() -> None:
    note = ring().note(SIGNER)
    assert KeyRing.from_note(note, [SIGNER.key]).jwks() == ring().jwks()
    assert self_vouched(note).jwks() == ring().jwks()
    with pytest.raises(BadNote, match="not signed"):
        KeyRing.from_note(note, [LOG.key])
    with pytest.raises(BadNote, match="not signed"):
        self_vouched(ring().note(LOG))
    with pytest.raises(BadNote, match="keeps no keys"):
        KeyRing.from_note(SIGNER.sign("something else\n{}\n"), [SIGNER.key])
    for malformed in ("[]", "{", '{"keys":[1]}', '{"keys":[{"kty":"EC"}]}'):
        with pytest.raises(BadNote, match="malformed keys"):
            KeyRing.from_note(SIGNER.sign(f"{SIGNER.key.name} keys\n{malformed}\n"), [SIGNER.key])
        with pytest.raises(BadNote, match="malformed keys"):
            self_vouched(SIGNER.sign(f"{SIGNER.key.name} keys\n{malformed}\n"))


def test_a_checkpoint_key_whose_two_forms_differ_is_refused() -> None:
    document = ring().jwks()
    document["keys"][1][VKEY] = NoteKey(SIGNER.key.name, LOG.key.public).vkey
    with pytest.raises(ValueError, match="two forms differ"):
        KeyRing.from_jwks(document)
    document["keys"][1][VKEY] = "nothing"
    with pytest.raises(BadNote):
        KeyRing.from_jwks(document)


def test_a_private_key_is_refused() -> None:
    document = ring().jwks()
    document["keys"][0]["d"] = "AQ"
    with pytest.raises(UnusableKey):
        KeyRing.from_jwks(document)
