"""How the server is started: what is refused before it listens, and TLS."""

import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("pynetdicom", reason="pynetdicom is absent: pip install '.[listen]'")

from pydicom import dcmread

from archives import UNCLOSED, echo, listening, receiving, until
from disasym.cli import main
from disasym.errors import EngineError, InputError
from disasym.listen import ListenOptions
from exams import write_exam
from processes import run_python

pytestmark = UNCLOSED


def test_a_folder_or_a_port_that_is_taken_is_one_sentence(tmp_path: Path) -> None:
    with listening(tmp_path / "out") as server:
        with pytest.raises(InputError, match="is writing its results here"), listening(tmp_path / "out"):
            pass
        with (
            pytest.raises(InputError, match=f"cannot listen on 127.0.0.1:{server.port} .*: name another --port"),
            listening(tmp_path / "other", port=server.port),
        ):
            pass


def test_what_cannot_be_made_is_said_before_anything_is_taken(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match="names no receiver: write AE@host:port"),
        listening(tmp_path, send_to=("ORTHANC",)),
    ):
        pass
    with pytest.raises(InputError, match="is no AE title"):
        ListenOptions(tmp_path, ae_title="SEVENTEEN LETTERS")
    with pytest.raises(InputError, match="nothing to send"):
        ListenOptions(tmp_path, send_to=("A@b:104",), write=("panels",))
    with pytest.raises(InputError, match="cannot write letters"):
        ListenOptions(tmp_path, write=("letters",))
    with pytest.raises(InputError, match="timeout must be more than 0"):
        ListenOptions(tmp_path, timeout=0.0)
    with pytest.raises(EngineError), listening(tmp_path / "out", model=tmp_path):
        pass
    assert not (tmp_path / "out").exists()


def certificates(folder: Path) -> dict[str, Path]:
    """An authority, and a certificate of it for 127.0.0.1."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is absent")
    folder.mkdir()

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    openssl("req", "-x509", *curve, "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", *curve, "-subj", "/CN=disasym", "-keyout", "own.key", "-out", "own.csr")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
    openssl("x509", "-req", "-in", "own.csr", *signing, "-out", "own.pem")
    return {"certificate": folder / "own.pem", "key": folder / "own.key", "ca": folder / "ca.pem"}


def test_with_tls_a_peer_needs_a_certificate_and_results_go_out_encrypted(tmp_path: Path) -> None:
    import ssl

    from pynetdicom import AE

    from disasym.listen.options import Tls

    tls = Tls(**certificates(tmp_path / "tls"))
    films = write_exam(tmp_path / "films", "woman")
    context = ssl.create_default_context(cafile=tls.ca)
    entity = AE(ae_title="PACS")
    entity.add_requested_context(dcmread(films[0]).SOPClassUID, dcmread(films[0]).file_meta.TransferSyntaxUID)
    entity.acse_timeout = 1.0
    with receiving(tls=tls.server()) as archive:
        to = f"ARCHIVE@127.0.0.1:{archive.port}"
        with listening(tmp_path / "out", tls=tls, send_to=(to,)) as server:
            silent = socket.create_connection(("127.0.0.1", server.port))  # and no handshake
            assert not echo(server.port), "a peer without TLS was served"
            stranger = entity.associate(
                *("127.0.0.1", server.port), ae_title="DISASYM", tls_args=(context, "127.0.0.1")
            )
            assert not stranger.is_established, "a peer without a certificate was served"
            del stranger  # its socket is closed while UNCLOSED holds
            entity.acse_timeout = 20.0
            known = tls.client()
            association = entity.associate(
                *("127.0.0.1", server.port), ae_title="DISASYM", tls_args=(known, "127.0.0.1")
            )
            assert association.is_established
            assert [association.send_c_store(film).Status for film in map(dcmread, films)] == [0, 0]
            association.release()
            if echoscu := shutil.which("echoscu"):
                own = ["+tls", str(tls.key), str(tls.certificate), "+cf", str(tls.ca), "-aec", "DISASYM"]
                subprocess.run([echoscu, *own, "127.0.0.1", str(server.port)], check=True)
            until(lambda: archive.taken)
            silent.close()
    (tmp_path / "tls" / "own.key").write_text("no key")
    with pytest.raises(InputError, match="no certificate, its key and an authority in PEM"):
        tls.server()


def test_without_pynetdicom_the_command_names_its_extra(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['pynetdicom'] = None\n"
        "from click.testing import CliRunner\n"
        "from disasym.cli import main\n"
        "result = CliRunner().invoke(main, ['listen', '--out', sys.argv[1]])\n"
        "print(result.exit_code, result.output)"
    )
    said = run_python(script, tmp_path / "out")
    assert said.startswith("2 ")
    assert "disasym listen needs the package 'pynetdicom': pip install 'disasym[listen]'" in said
    assert not (tmp_path / "out").exists()


def test_tls_takes_all_three_files_or_none(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["listen", "--out", str(tmp_path / "out"), "--tls-cert", "own.pem"])
    assert result.exit_code == 2
    assert "TLS needs --tls-cert, --tls-key and --tls-ca, all three" in result.output
