"""`python -m minimon_server.scores`: what anyone can check of scores, and what an operator can vouch for. No server.

Exit status: 0 valid, 1 not valid, 2 could not be checked. Reads no setting and no environment.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from minimon_server.errors import StartupError
from minimon_server.scores.answers import Answer, say
from minimon_server.scores.checking import check_consistency, check_ledger, check_proof, check_score
from minimon_server.scores.evidence import CannotCheck
from minimon_server.scores.key_ring import KeyRing
from minimon_server.scores.notes import BadNote, NoteKey
from minimon_server.times import Clock

_VERIFY = """\
Checks one signed score, a proof, a whole ledger, or that a ledger has only grown since an older checkpoint.
Exit status: 0 valid, 1 not valid, 2 could not be checked.

  curl -sk https://localhost:22222/.well-known/jwks.json -o jwks.json
  python -m minimon_server.scores verify certified.json --keys jwks.json
  python -m minimon_server.scores verify --proof proof.json --keys jwks.json
  python -m minimon_server.scores verify --ledger data/certified_scores.jsonl --vkey 'NAME+HASH+KEY'
  python -m minimon_server.scores verify --consistency growth.json --old-checkpoint kept.txt --vkey 'NAME+HASH+KEY'
"""
_ADOPT = """\
Vouches for a ledger as it is: an older ledger that has no checkpoint yet, or one whose checkpoint or keys were lost, or
whose checkpoint key was changed. Everything that can be checked is checked and shown; then, with --yes, a new
checkpoint is signed over what is there. From then on nobody can tell what was changed before: that is your word alone.
"""


def parser() -> argparse.ArgumentParser:
    """Return the reader of the command line."""
    raw = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(prog="python -m minimon_server.scores", description=__doc__, formatter_class=raw)
    commands = top.add_subparsers(dest="command", required=True, metavar="verify|adopt")
    verify = commands.add_parser("verify", description=_VERIFY, formatter_class=raw, help="check, and change nothing")
    verify.add_argument("score", nargs="?", metavar="SCORE", help="file with a signed score; - for standard input")
    verify.add_argument("--proof", metavar="FILE", help="inclusion proof: JSON, or a C2SP tlog-proof; - for stdin")
    verify.add_argument("--ledger", metavar="FILE", type=Path, help="ledger, with what lies beside it")
    verify.add_argument("--consistency", metavar="FILE", help="answer of /v1/ledger/consistency; - for stdin")
    verify.add_argument("--old-checkpoint", metavar="FILE", type=Path, help="checkpoint that the growth began at")
    verify.add_argument("--checkpoint", metavar="FILE", type=Path, help="with --ledger: a copy that you kept elsewhere")
    verify.add_argument("--keys", metavar="JWKS", type=Path, help="public keys, as /.well-known/jwks.json gives them")
    verify.add_argument("--vkey", metavar="VKEY", action="append", default=[], help="public key of checkpoints")
    verify.add_argument("--json", action="store_true", help="answer with one JSON object")
    adopting = commands.add_parser("adopt", description=_ADOPT, formatter_class=raw, help="vouch for a ledger as it is")
    adopting.add_argument("ledger", type=Path, metavar="LEDGER")
    adopting.add_argument("--checkpoint-key", type=Path, required=True, metavar="PEM", help="key to sign with from now")
    adopting.add_argument("--keys", metavar="JWKS", type=Path, action="append", default=[], help="former public keys")
    adopting.add_argument(
        "--certificate", metavar="PEM", type=Path, action="append", default=[], help="certificate of a key of scores"
    )
    adopting.add_argument("--yes", action="store_true", help="do it; without this nothing is changed")
    adopting.add_argument("--json", action="store_true", help="answer with one JSON object")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    reader = parser()
    options = reader.parse_args(arguments)
    try:
        answer = _adopt(options) if options.command == "adopt" else _verify(reader, options)
    except CannotCheck as error:
        return say(Answer(None, [str(error)]), as_json=options.json)
    except StartupError as error:
        return say(Answer(None, list(error.lines)), as_json=options.json)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return say(Answer(None, [f"{where}{error.strerror or error}"]), as_json=options.json)
    return say(answer, as_json=options.json)


def _verify(reader: argparse.ArgumentParser, options: argparse.Namespace) -> Answer:
    asked = [options.score, options.proof, options.ledger, options.consistency]
    if sum(one is not None for one in asked) != 1:
        reader.error("verify takes one of: SCORE, --proof, --ledger, --consistency")
    if (options.consistency is None) != (options.old_checkpoint is None):
        reader.error("--consistency and --old-checkpoint belong together")
    if options.checkpoint is not None and options.ledger is None:
        reader.error("--checkpoint belongs to --ledger")
    ring = _ring(options.keys) if options.keys else None
    logs = [*(_vkey(one) for one in options.vkey)] or list(ring.logs if ring else ())
    if options.ledger is not None:
        outside = options.checkpoint.read_bytes() if options.checkpoint else None
        return check_ledger(options.ledger, ring, logs, outside)
    if options.consistency is not None:
        return check_consistency(_content(options.consistency), options.old_checkpoint.read_bytes(), logs)
    if options.proof is not None:
        return check_proof(_content(options.proof), ring, logs)
    return check_score(_content(options.score), ring)


def _adopt(options: argparse.Namespace) -> Answer:
    from minimon_server.scores.adopting import Adoption, adopt  # it knows key files, of which verifying needs nothing

    stamp = Clock().now_ms().replace(":", "").replace(".", "")
    name = f"minimon-scores/{os.urandom(8).hex()}"
    asked = Adoption(options.ledger, options.checkpoint_key, options.keys, options.certificate, name, stamp)
    return adopt(asked, sure=options.yes)


def _ring(path: Path) -> KeyRing:
    try:
        return KeyRing.from_json(path.read_bytes())
    except ValueError as error:
        raise CannotCheck(f"{path} holds no public keys that can be used: {error}") from error


def _vkey(text: str) -> NoteKey:
    try:
        return NoteKey.from_vkey(text)
    except BadNote as error:
        raise CannotCheck(f"--vkey {text}: {error}") from error


def _content(name: str) -> bytes:
    return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()


if __name__ == "__main__":
    sys.exit(main())
