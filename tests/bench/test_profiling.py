"""To whom a sampled stack is counted: stacks as py-spy writes them."""

from __future__ import annotations

import pytest

from bench.profiling import count, owner

RUN = "<module> (gen-server.py:5);run (minimon_server/web/serve.py:90);uv_run (core.c:464)"
ANSWER = (
    "task_step (_asynciomodule.c:2990);RequestResponseCycle.run_asgi (uvicorn/protocols/http/httptools_impl.py:422)"
)
CALL = "Generate.__call__ (minimon_server/web/generate.py:63)"
SIGN = "SigningKey.sign (minimon_server/scores/signing.py:60)"
WRITE = "UVStream__try_write (loop.c:106818)"
SSL = "SSLObject.write (ssl.py:930);_ssl__SSLSocket_write_impl (_ssl.c:2391);SSL_write_ex (libssl.so.3)"


@pytest.mark.parametrize(
    ("stack", "name"),
    [
        (f"{RUN}", "uvloop"),
        (f"{RUN};{ANSWER}", "uvicorn"),
        (f"{RUN};{ANSWER};{CALL}", "ours: minimon_server/web/generate.py"),
        (f"{RUN};{ANSWER};{CALL};0x7efd6258224c (libc.so.6)", "ours: minimon_server/web/generate.py"),
        (f"{RUN};{ANSWER};{WRITE};write (libc.so.6)", "kernel: sockets"),
        (f"{RUN};{ANSWER};{WRITE};{SSL};0x7efd6258224c (libc.so.6)", "TLS: OpenSSL, records and copies"),
        (f"{RUN};{ANSWER};{SSL};EVP_EncryptUpdate (libcrypto.so.3);0x7f (libcrypto.so.3)", "TLS: OpenSSL, encrypting"),
        (f"{RUN};{ANSWER};__call__ (starlette/routing.py:60)", "starlette"),
        (f"{RUN};{ANSWER};{CALL};0x7efd (orjson/orjson.cpython-311-x86_64-linux-gnu.so)", "JSON library"),
        (
            f"{RUN};flush (minimon_server/logs.py:40);_io_FileIO_write (fileio.c:900);write (libc.so.6)",
            "ours: minimon_server/logs.py, in system calls",
        ),
        (f"{RUN};{ANSWER};{SIGN};0x7f1 (cryptography/hazmat/bindings/_rust.abi3.so)", "cryptography: signing"),
        (f"{RUN};{ANSWER};{SIGN};dumps (rfc8785/_impl.py:150)", "rfc8785"),
        ("0x7efd6244524a (libc.so.6);PyObject_GC (gcmodule.c:1)", "interpreter"),
    ],
)
def test_the_innermost_known_frame_owns_the_sample(stack: str, name: str) -> None:
    assert owner(stack.split(";")) == name


def test_owners_add_up_and_functions_contain_what_they_call() -> None:
    shares = count([f"{RUN};{ANSWER};{CALL};{CALL} 3", f"{RUN};{ANSWER} 1"])
    assert shares.samples == 4
    assert dict(shares.owners) == {"ours: minimon_server/web/generate.py": 0.75, "uvicorn": 0.25}
    assert dict(shares.functions)["minimon_server/web/generate.py: Generate.__call__"] == 0.75
    assert dict(shares.functions)["gen-server.py: <module>"] == 1.0


def test_threads_that_wait_are_counted_apart() -> None:
    writer = "run (threading.py:982);LogSink._run (minimon_server/logs.py:88);time_sleep (libpython3.11.so.1.0)"
    shares = count([f"{writer};clock_nanosleep (libc.so.6) 30", f"{RUN};{ANSWER} 1"])
    assert (shares.samples, shares.waiting) == (1, 30)
    assert count([f"{writer.partition(';')[0]};fdatasync (libc.so.6) 7"]).waiting == 7
    assert dict(shares.owners) == {"uvicorn": 1.0}


def test_no_samples() -> None:
    assert count([]).samples == 0
