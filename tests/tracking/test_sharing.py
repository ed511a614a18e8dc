"""A store on the disk of a run shares its files, and what is sent again is not written through to them."""

from __future__ import annotations

from pathlib import Path

from clplat.tracking.sharing import release, share


def test_a_copy_becomes_another_name_and_is_let_go_before_it_is_written_to(tmp_path: Path) -> None:
    file, copy = tmp_path / "run" / "1.safetensors", tmp_path / "sto re" / "versions" / "1.safetensors"
    for path in (file, copy):
        path.parent.mkdir(parents=True)
        path.write_text("weights")
    location = (tmp_path / "sto re").as_uri()
    share(location, "versions/1.safetensors", file)
    assert copy.samefile(file)
    release(location, "versions/1.safetensors")
    assert not copy.exists() and file.read_text() == "weights"
    release(location, "versions/1.safetensors")


def test_what_lies_elsewhere_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "1.safetensors"
    file.write_text("weights")
    share("mlflow-artifacts:/1", "versions/1.safetensors", file)
    share((tmp_path / "none").as_uri(), "1.safetensors", file)
    release("s3://bucket/1", "versions/1.safetensors")
    assert file.stat().st_nlink == 1
