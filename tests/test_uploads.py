"""STORAGE_URL attaches a place for uploads, which every process shares."""

import json
import urllib.request
from collections.abc import Callable

from deploys import DEPLOY, add_story, build, create_superuser, hand_in, log_in, migrate
from generation import Project

Generate = Callable[..., Project]


def test_an_upload_to_a_bucket_is_there_for_every_web_process(s3, generate: Generate):
    project = add_story(build(generate(media_storage="s3")))
    deploy = {**DEPLOY, **s3.environment, "STORAGE_URL": s3.create_bucket()}
    migrate(project, **deploy)
    create_superuser(project, **deploy)
    one, two = project.serve(**deploy), project.serve(**deploy)
    answers = [json.loads(hand_in(log_in(one), "Dear Ada", "a@example.com").text) for _ in "ab"]
    assert answers[0]["name"] != answers[1]["name"], "the second replaces nothing"
    assert two.get(f"/letter/{answers[0]['name']}").text == "Dear Ada"
    # What a browser does: no credentials but the signature.
    assert "X-Amz-Signature=" in answers[0]["url"]
    with urllib.request.urlopen(answers[0]["url"]) as response:  # noqa: S310
        assert response.read() == b"Dear Ada"
    assert f"img-src 'self' {s3.url()}" in two.get("/").headers["Content-Security-Policy"]
    assert one.get("/media/letter.txt").status == 404
    assert not (project.path / "media").exists()


def test_a_bucket_is_not_asked_before_it_is_needed(s3, generate: Generate):
    project = build(generate(media_storage="s3"))
    deploy = {**DEPLOY, **s3.environment, "STORAGE_URL": s3.create_bucket()}
    migrate(project, **deploy)
    with s3.stopped():
        web = project.serve(**deploy)
        assert web.get("/readyz").status == 200
        assert web.get("/").status == 200


def test_an_upload_on_disk_is_there_for_every_web_process(tmp_path, generate: Generate):
    project = add_story(build(generate()))
    deploy = {**DEPLOY, "STORAGE_URL": f"file://{tmp_path}/uploads"}
    migrate(project, **deploy)
    create_superuser(project, **deploy)
    one, two = project.serve(**deploy), project.serve(**deploy)
    answer = json.loads(hand_in(log_in(one), "Dear Ada", "a@example.com").text)
    page = two.get(answer["url"])
    assert (answer["url"], page.text) == ("/media/letter.txt", "Dear Ada")
    assert "sandbox" in page.headers["Content-Security-Policy"]
    assert [file.name for file in (tmp_path / "uploads").iterdir()] == ["letter.txt"]
