"""One reader of URLs: what is shown or identifies a place never holds a secret, and two places never have one
name."""

import json
import random
import re
import time
import traceback
from pathlib import Path
from urllib.parse import quote, quote_plus, urlsplit, urlunsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import asdict
from plain_records import commit

from mlnb.care.audit import events
from mlnb.care.signing import make_key
from mlnb.care.vouched import signer
from mlnb.cli import run_command
from mlnb.sharing.exchanges import SentRef
from mlnb.sharing.pull import pull
from mlnb.sharing.push import push
from mlnb.sharing.remote import open_remote, remote_errors
from mlnb.sharing.trust import remote_alias
from mlnb.sources.pin import place_of
from mlnb.sources.sql import database_errors
from mlnb.sources.url import pin_url, source_errors
from mlnb.store.digests import sha256
from mlnb.store.errors import DefinitionError, Problem, StoreError, UsageError
from mlnb.store.objects import open_store, put
from mlnb.store.refs import move_ref, read_ref, ref_history
from mlnb.store.settings import read_project
from mlnb.store.url import (
    BEFORE_AT,
    has_secret,
    scheme_of,
    secrets_in,
    shown_url,
    url_identity,
    without_secrets,
)
from mlnb.terminal.remote import remote_of

SECRET, OTHER = "Tr0ub4dor", "hunter2hunter2"
CONTAINERS, USERS = (
    ("abfs", "abfss", "wasb", "wasbs", "az"),
    ("sftp", "ssh", "ftp", "smb", "hdfs", "postgresql", "mysql+pymysql", "redis", "unheard-of"),
)
TOKENS, KEYS = ("http", "https", "git", "git+https", "webdav"), ("s3", "s3a", "gs", "gcs", "oss")
WEB = ("http", "https")
PARAMETERS = (
    "sig",
    "token",
    "access_token",
    "password",
    "pwd",
    "api_key",
    "apikey",
    "secret",
    "access_key",
    "AccountKey",
    "SharedAccessSignature",
    "X-Amz-Signature",
    "X-Amz-Credential",
    "X-Amz-Security-Token",
    "X-Goog-Signature",
    "X-Goog-Credential",
    "Signature",
    "AWSAccessKeyId",
    "client_secret",
    "db_password",
    "PASSWORD",
    "%70wd",
    "sas",
    "auth",
)
SAS = "sv=2026-01-01&ss=b&srt=sco&sp=rl&se=2026-12-31T00%3A00%3A00Z&st=2026-11-23&spr=https&sig="
AMAZON = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F20261123%2Fus&X-Amz-Date=20261123T1&"
    "X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-Signature="
)


# what stands before `@`: scheme by form


def matrix():
    "URL with `{}` in place of a secret, what is shown, what identifies."
    rest = "host.net:22/team/store"
    for scheme in CONTAINERS:
        yield f"{scheme}://lake:{{}}@{rest}", f"{scheme}://lake@{rest}", f"{scheme}://lake@{rest}"
        yield f"{scheme}://lake@{rest}?{SAS}{{}}", f"{scheme}://lake@{rest}", f"{scheme}://lake@{rest}"
    for scheme in USERS:
        yield f"{scheme}://ann:{{}}@{rest}", f"{scheme}://{rest}", f"{scheme}://ann@{rest}"
        yield f"{scheme}://ann:{{}}/{{}}@{rest}", f"{scheme}://{rest}", f"{scheme}://ann@{rest}"
        yield f"{scheme}://:{{}}@{rest}", f"{scheme}://{rest}", f"{scheme}://{rest}"
    for scheme in TOKENS:
        yield f"{scheme}://ghp_0123456789abcdef{{}}@{rest}", f"{scheme}://{rest}", f"{scheme}://{rest}"
        yield f"{scheme}://{{}}:@{rest}", f"{scheme}://{rest}", f"{scheme}://{rest}"
        yield f"{scheme}://{{}}:x-oauth-basic@{rest}", f"{scheme}://{rest}", f"{scheme}://{rest}"
        yield (
            f"{scheme}://x-access-token:{{}}@{rest}",
            f"{scheme}://{rest}",
            f"{scheme}://x-access-token@{rest}",
        )
    for scheme in KEYS:
        yield f"{scheme}://{{}}@{rest}", f"{scheme}://{rest}", f"{scheme}://{rest}"
        yield f"{scheme}://{{}}:{{}}@{rest}", f"{scheme}://{rest}", f"{scheme}://{rest}"
        yield (
            f"simplecache::{scheme}://{{}}:{{}}@{rest}",
            f"simplecache::{scheme}://{rest}",
            f"simplecache::{scheme}://{rest}",
        )
    for scheme in (*CONTAINERS, *USERS, *TOKENS, *KEYS):
        for name in PARAMETERS:
            yield f"{scheme}://{rest}?table=a&{name}={{}}", f"{scheme}://{rest}", f"{scheme}://{rest}?table=a"
        yield (
            f"{scheme}://{rest}?{AMAZON}{{}}&versionId=3",
            f"{scheme}://{rest}",
            f"{scheme}://{rest}?versionId=3",
        )
        yield f"{scheme}://{rest}#access_token={{}}", f"{scheme}://{rest}", f"{scheme}://{rest}"
        yield f"{scheme}://{rest};password={{}}", f"{scheme}://{rest}", f"{scheme}://{rest}"
        yield (
            f"{scheme}://{rest}?dsn=SERVER%3Dh%3BPWD%3D{{}}",
            f"{scheme}://{rest}",
            f"{scheme}://{rest}?dsn=SERVER=h",
        )


def test_matrix_of_schemes_and_forms_shows_no_secret_and_knows_the_place():
    for form, shown, identity in matrix():
        raw = (
            ["p@ss:w0rd"] if ":{}@" in form and "/" not in form.partition("://")[2].partition("@")[0] else []
        )
        for secret in (SECRET, quote("p@ss/w0rd%", safe=""), *raw):
            url = form.replace("{}", secret)
            assert (shown_url(url), url_identity(url), has_secret(url)) == (shown, identity, True), url
            assert not has_secret(shown) and (not has_secret(identity) or scheme_of(url) in TOKENS), url
            upper = url.replace(scheme_of(url), scheme_of(url).upper(), 1) if "::" not in url else url
            assert (shown_url(upper), url_identity(upper), has_secret(upper)) == (shown, identity, True), (
                upper
            )


@pytest.mark.parametrize(
    ("url", "shown", "identity"),
    [
        ("sftp://ann@host/x", "sftp://host/x", "sftp://ann@host/x"),
        ("abfs://lake@account.net/x", "abfs://lake@account.net/x", "abfs://lake@account.net/x"),
        ("s3://bucket/a@b/c.csv", "s3://bucket/a@b/c.csv", None),
        ("sftp://host:22/a@b/x", "sftp://host:22/a@b/x", None),
        ("https://host/a@b/x", "https://host/a@b/x", None),
        ("s3://lake/day=2026-11-2?/key=5/*.parquet", "s3://lake/day=2026-11-2?/key=5/*.parquet", None),
        ("s3://lake/token=1/x", "s3://lake/token=1/x", None),
        ("https://host/export?table=a#top", "https://host/export", "https://host/export?table=a"),
        ("https://host/x?", "https://host/x", "https://host/x"),
        ("memory://a@b/c", "memory://a@b/c", None),
        ("memory:///x?y#z", "memory:///x?y#z", None),
        ("memory://", "memory://", None),
        ("file:///mnt/a@b", "file:///mnt/a@b", None),
        ("github://org:repo@main/data/a.csv", "github://org:repo@main/data/a.csv", None),
        ("git+ssh://git@github.com/team/x", "git+ssh://github.com/team/x", "git+ssh://git@github.com/team/x"),
        ("http://[2001:db8::1]:8080/x", "http://[2001:db8::1]:8080/x", None),
        ("http://[::1/x", "http://[::1/x", None),
        ("sftp://host:port/x", "sftp://host:port/x", None),
        ("zip://*.csv::simplecache::s3://lake/a.zip", "zip://*.csv::simplecache::s3://lake/a.zip", None),
        ("simplecache::/mnt/a", "simplecache::/mnt/a", None),
        ("/mnt/ann:pw@home?day=1", "/mnt/ann:pw@home?day=1", None),
        ("C:\\data\\a@b", "C:\\data\\a@b", None),
        ("C:/data", "C:/data", None),
        ("\\\\nas\\share", "\\\\nas\\share", None),
        ("data/key=5", "data/key=5", None),
        ("~/x", "~/x", None),
        ("env:LAKE", "env:LAKE", None),
        ("git@github.com:team/x", "git@github.com:team/x", None),
        ("", "", None),
        ("::", "::", None),
        ("://", "://", None),
        ("sqlite:///shop.db", "sqlite:///shop.db", None),
        ("duckdb:", "duckdb:", None),
        (
            "postgresql://ann@host/db?sslmode=on",
            "postgresql://host/db?sslmode=on",
            "postgresql://ann@host/db?sslmode=on",
        ),
    ],
)
def test_text_without_a_secret_says_so_and_stays_readable(url, shown, identity):
    assert (shown_url(url), url_identity(url), has_secret(url)) == (
        shown,
        shown if identity is None else identity,
        False,
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "DefaultEndpointsProtocol=https;AccountName=a;AccountKey={};EndpointSuffix=core.net",
            "DefaultEndpointsProtocol=https;AccountName=a;EndpointSuffix=core.net",
        ),
        (
            "BlobEndpoint=https://a.net/;SharedAccessSignature=sv=2026&sp=r&sig={}",
            "BlobEndpoint=https://a.net/",
        ),
        ("BlobEndpoint=https://a.net/?sv=2026&sig={}", "BlobEndpoint=https://a.net/"),
        (
            "Endpoint=sb://a.net/;SharedAccessKeyName=root;SharedAccessKey={}==",
            "Endpoint=sb://a.net/;SharedAccessKeyName=root",
        ),
        ("Driver={x};Server=h;UID=ann;PWD={{}}", "Driver={x};Server=h;UID=ann"),
        ("host=h user=ann password='{} x' dbname=d", "host=h user=ann dbname=d"),
        ("host=h password = {}", "host=h"),
        ("redis.net:6379,password={},ssl=True", "redis.net:6379,ssl=True"),
        ("ann:{}@host/x.csv", "…@host/x.csv"),
        ("sftp:ann:{}@host/x.csv", "…@host/x.csv"),
        ("duckdb:md:shop?motherduck_token={}", "duckdb:md:shop"),
        ("jdbc:sqlserver://h:1433;user=ann;password={}", "jdbc:sqlserver://h:1433"),
        ("mssql+pyodbc:///?odbc_connect=DRIVER%3D%7Bx%7D%3BPWD%3D{}", "mssql+pyodbc:///"),
        ("https://h/x?next=https%3A%2F%2Fann%3A{}%40h%2Fx", "https://h/x"),
        ("ssh://ghp_{}0123456789@host/x", "ssh://host/x"),
        ("ht\ntps://ann:{}@host/x", "https://host/x"),
        (" https://ann:{}@host/x", "https://host/x"),
        ("postgresql://ann:a/{}@host/db", "postgresql://host/db"),
        ("sftp://ann:/{}@host/x", "sftp://host/x"),
        ("sftp://ann:{}?a#b@host/x", "sftp://host/x"),
        ("https://h/x?password={};a&b", "https://h/x"),
        ("http://[::1]:80/x?sig={}", "http://[::1]:80/x"),
        ("http://ann:{}@[::1/x", "http://[::1/x"),
    ],
)
def test_connection_strings_and_odd_spellings_show_no_secret(text, shown):
    one, other = (text.replace("{}", secret) for secret in (SECRET, OTHER))
    assert (
        has_secret(one)
        and shown_url(one) == shown
        and url_identity(one) == url_identity(other)
        and SECRET not in url_identity(one)
    )
    assert not has_secret(shown_url(one)) and any(SECRET in secret for secret in secrets_in(one))


def test_table_of_what_stands_before_at_names_each_scheme_once():
    schemes = [scheme for group in BEFORE_AT.values() for scheme in group]
    assert len(schemes) == len(set(schemes)) and all(
        re.fullmatch(r"[a-z0-9+]+", scheme) for scheme in schemes
    )


@pytest.mark.parametrize(
    "form",
    [
        '"https://ann:{}@h/x"',
        "‹https://ann:{}@h/x›",
        "(https://ann:{}@h/x)",
        "-https://ann:{}@h/x",
        "\ufeffhttps://ann:{}@h/x",
        "*.csv::s3://K:{}@b",
        "data/x.zip::s3://K:{}@b",
        "/mnt/x.zip::s3://K:{}@b",
        "_x://ann:{}@h",
        "http_x://ann:{}@h",
        "r://ann:{}@h",
        '"https://{}@h/x"',
        "(https://h/x?token={})",
        "_x://h _x://ann:{}@h",
        "h:1,password={},url=https://h/x",
        "github://ann:ghp_0123456789abcdef{}@org/repo",
        "?auth:token={}",
        "https://ann:1?{}@h",
        "/x?password={}",
        "//h/x?token={}",
        "s3://AKIA:9/{}@b",
        "error:https://{}0123456789abcd@h",
        "https://h/?key={}0123456789",
    ],
)
def test_secret_in_an_odd_place_is_found_and_not_shown(form):
    text = form.replace("{}", SECRET)
    assert (
        has_secret(text)
        and not has_secret(shown_url(text))
        and any(SECRET in secret for secret in secrets_in(text))
    )
    assert SECRET not in shown_url(text) + url_identity(text) + without_secrets(f"cannot open {text}", text)
    assert url_identity(text) == url_identity(form.replace("{}", OTHER))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://srv:5432/db?user=ann@srv", None),
        ("mysql://h:3306/x@y", None),
        ("https://ann@h/x", "https://h/x"),
        ("dav://ann@h", "dav://h"),
        ("https://h/x?key=customers.csv", "https://h/x"),
        ("s3://lake/day-?key=1/*.csv", None),
        ("key=5/store", None),
        ("s3://lake/x?page_token=1", None),
        ("(https://h/x)", None),
        ("*.csv::s3://b", None),
        ("s3://lake/x?st=NY&policy=a", None),
    ],
)
def test_text_that_only_resembles_a_secret_is_taken(url, shown):
    assert (has_secret(url), shown_url(url), url_identity(url)) == (False, shown or url, url)


def test_times_of_a_signature_count_without_one():
    assert (
        url_identity("https://h/x?st=NY&token=T")
        == "https://h/x?st=NY"
        != url_identity("https://h/x?st=CA&token=T")
    )
    assert (
        url_identity("https://h/x?a=1&st=NY&se=1&sig=T")
        == url_identity("https://h/x?a=1&Expires=1&Policy=p&Signature=T")
        == "https://h/x?a=1"
    )


HOSTILE = {
    "words": "a-" * 50_000,
    "uuids": "0b5c3a52-7d4e-4f6a-9d3e-1c2b3a4d5e6f" * 2_800,
    "letters": "a" * 99_990 + "x://a:S@h",
    "colons": "::" * 50_000,
    "blanks": "?token=a" + " " * 100_000,
    "values": "https://h/?" + "a=" * 50_000,
    "urls": "://@" * 25_000,
    "chain": "a::b://" * 14_000,
    "pairs": "?token=abcd" * 9_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_takes_no_time(text):
    for read in (
        has_secret,
        shown_url,
        url_identity,
        scheme_of,
        without_secrets,
        lambda text: without_secrets(text, text),
        remote_alias,
    ):
        began = time.perf_counter()
        read(text)
        assert time.perf_counter() - began < 1
    assert SECRET not in without_secrets("a" * 19_980 + f"https://ann:{SECRET}@h")


# properties

hosts = st.from_regex(r"[a-z]{1,8}(\.[a-z]{2,5})?(:[0-9]{2,4})?", fullmatch=True)
names = st.from_regex(r"[a-z][a-z0-9_.-]{0,8}", fullmatch=True)
paths = st.from_regex(r"/[a-z0-9_./-]{0,12}", fullmatch=True)
secrets = st.text("abXY019@:%+&=!$~", max_size=12).map(lambda text: f"S3c{text}r3t")
tokens = st.text(min_size=1, max_size=12).map(lambda text: quote(f"S3c{text}r3t", safe=""))
schemes = st.sampled_from((*CONTAINERS, *USERS, *TOKENS, *KEYS))
quick = settings(max_examples=30, deadline=None)


@quick
@given(
    st.tuples(schemes, names),
    st.tuples(secrets, secrets),
    st.tuples(hosts, paths),
    st.sampled_from(PARAMETERS),
    st.tuples(tokens, tokens),
)
def test_no_secret_is_shown_or_identifies_and_a_new_one_is_the_same_place(
    who, passwords, where, parameter, both_tokens
):
    (scheme, name), (password, changed), (host, path), (token, renewed) = who, passwords, where, both_tokens
    url = f"{scheme}://{name}:{password}@{host}{path}?part=1&{parameter}={token}"
    for text in (shown_url(url), url_identity(url), without_secrets(f"cannot open {url}", url)):
        assert password not in text and token not in text and "S3c" not in text
    assert url_identity(url) == url_identity(
        f"{scheme}://{name}:{changed}@{host}{path}?part=1&{parameter}={renewed}"
    )
    assert has_secret(url) and not has_secret(shown_url(url)) and shown_url(shown_url(url)) == shown_url(url)


@quick
@given(st.sampled_from((*CONTAINERS, *USERS)), names, names, hosts, hosts, paths, paths)
def test_another_container_user_host_port_or_path_is_another_place(
    scheme, name, other_name, host, other_host, path, other_path
):
    places = [(n, h, p) for n in (name, other_name) for h in (host, other_host) for p in (path, other_path)]
    urls = {place: f"{scheme}://{place[0]}:secret@{place[1]}{place[2]}" for place in places}
    assert (
        len({url_identity(url) for url in urls.values()})
        == len(urls)
        == len({remote_alias(url) for url in urls.values()})
    )


def old_name(url):
    """The name of a remote before there was one reader: sha256 of the URL without what stood before `@`,
    query and fragment."""
    if "://" in url:
        parts = urlsplit(url)
        url = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    return f"r_{sha256(url.encode())[:12]}"


@quick
@given(
    st.sampled_from(
        (*CONTAINERS, *TOKENS, *KEYS, "sftp", "smb", "hdfs", "unheard-of", "memory", "file", "S3", "")
    ),
    st.one_of(hosts, st.just("")),
    st.text("abÄ0@:%+&=!$~;,._/- ", max_size=20),
)
def test_remote_without_user_and_query_keeps_the_name_it_had(scheme, host, path):
    host = host.partition(":")[0] if scheme.lower() in KEYS else host  # a bucket has no port
    url = f"{scheme}://{host}/{path}" if scheme else f"/{path}"
    assert remote_alias(url) == old_name(url)


@quick
@given(st.text(max_size=30))
def test_any_text_at_all_gets_an_answer(text):
    for url in (text, f"https://{text}", f"abfs://{text}@host", f"zip::{text}", f"sftp://ann:{text}@host/x"):
        assert isinstance(
            shown_url(url)
            + url_identity(url)
            + scheme_of(url)
            + remote_alias(url)
            + without_secrets(text, url),
            str,
        )
        assert has_secret(url) is bool(secrets_in(url))


@quick
@given(tokens, st.sampled_from([str, quote, quote_plus, lambda text: quote(text, safe="")]))
def test_secret_is_found_in_errors_however_it_is_spelt(token, spell):
    plain = f"p@ss/{token[:5]}+ w0rd"
    url = f"sftp://ann:{quote(plain, safe='')}@host/x"
    assert spell(plain) not in without_secrets(f"no entry for ann with {spell(plain)} at host", url)


# where URLs are used


def test_two_containers_have_two_names_and_known_remotes_keep_theirs(tmp_path):
    (tmp_path / "settings.ini").write_text("[mlnb]\n")
    project = read_project(tmp_path)
    first, second = (
        remote_of(project, f"abfs://{name}@account.dfs.core.windows.net/store")
        for name in ("first", "second")
    )
    assert first[0] != second[0] and re.fullmatch(r"r_[0-9a-f]{12}", first[0])
    assert remote_of(project, "sftp://ann@host/x")[0] != remote_of(project, "sftp://bob@host/x")[0]
    for url in (
        "memory://team/store",
        "memory:///store",
        "s3://team/store",
        "sftp://host:22/x",
        str(tmp_path / "shared"),
        "hdfs:///x",
    ):
        assert remote_of(project, url) == (old_name(url), url)


@pytest.fixture
def pushed(tmp_path):
    "A store with a key, a record and a ref."
    store = open_store(tmp_path / "ana")
    make_key(store)
    model = {"digest": put(store, b"a model"), "codec": "text", "type": "str", "bytes": 7}
    commit(
        store,
        {
            "key": "1" * 64,
            "pipeline": "fraud",
            "stage": "train",
            "run": "20261123T100000000-aaaa",
            "metrics": {},
            "inputs": {},
            "outputs": {"model": model},
        },
        sign=signer(store, "record"),
    )
    move_ref(store, "heads/fraud/default", "20261123T100000000-aaaa", "done", sign=signer(store, "ref"))
    return store


def test_push_and_pull_with_a_secret_keep_what_was_seen_and_store_no_secret(pushed):
    where = f"team-{random.randrange(10**9)}"
    name = old_name(f"memory://{where}/store")
    assert push(pushed, f"memory://{where}/store", name).refs == [SentRef("heads/fraud/default", "moved")]
    assert push(pushed, f"memory://{where}/store", remote_alias(f"memory://{where}/store")).refs == [
        SentRef("heads/fraud/default", "same")
    ]
    url = f"memory://{where}:{SECRET}@host/store?sig={SECRET}"
    said = push(pushed, url, remote_alias(url)), pull(pushed, url, remote_alias(url))
    assert {one.remote for one in said} == {f"memory://{where}@host/store"} and remote_alias(url) != name
    assert [
        read_ref(pushed, f"remotes/{n}/heads/fraud/default").number for n in (name, remote_alias(url))
    ] == [1, 1]
    assert len(ref_history(pushed, f"remotes/{name}/heads/fraud/default")) == 1
    kept = b"".join(path.read_bytes() for path in pushed.root.rglob("*") if path.is_file())
    told = [[one.as_dict() for one in documents] for documents in (said, events(pushed))]
    assert SECRET.encode() not in kept and SECRET not in json.dumps(told)
    assert SECRET not in repr(open_remote(url))


@pytest.mark.parametrize(
    "url",
    [
        f"nowhere://me:{SECRET}@host/x",
        f"sftp://me:x/{SECRET}@host/x",
        f"sftp://host:{SECRET}@x@host:bad/x",
        f"xyz://h/x?token={SECRET}",
    ],
)
def test_remote_that_cannot_be_opened_is_named_without_its_secret(pushed, url):
    with pytest.raises((UsageError, StoreError)) as caught:
        push(pushed, url)
    assert (
        SECRET not in str(caught.value)
        and caught.value.__cause__ is None
        and caught.value.__context__ is None
        and caught.value.mend
    )


@pytest.mark.parametrize(
    "error", [OSError, ValueError, FileNotFoundError, FileExistsError, KeyError, RuntimeError]
)
def test_errors_of_back_ends_are_told_without_secrets(error):
    url = f"memory://lake:p%40{SECRET}@host/x?sig={SECRET}%3D"
    text = (
        f"401 at {url}: 'p@{SECRET}' or {SECRET}= is wrong, see "
        f"https://else.where/?X-Amz-Signature={SECRET}&x=1"
    )
    for used in (
        remote_errors(open_remote(url)),
        source_errors(url, "raw"),
        database_errors(url, "raw", StoreError),
    ):
        with pytest.raises(Exception) as caught, used:
            raise error(text)
        assert SECRET not in str(caught.value) + "".join(traceback.format_exception(caught.value))
    with (
        pytest.raises(StoreError, match="no answer") as caught,
        remote_errors(open_remote("memory://lake/x")),
    ):
        raise TimeoutError("no answer")
    assert isinstance(caught.value.__cause__, TimeoutError)


@pytest.mark.parametrize(
    "value",
    [
        f"https://ghp_0123456789{SECRET}@github.com/team/x",
        f"abfs://lake@a.net/x?sv=2026&sig={SECRET}",
        f"s3://AKIA:{SECRET}@b/x",
        f"HTTPS://ann:{SECRET}@h/x",
        f"https://h/x?X-Amz-Signature={SECRET}",
        f"postgresql+psycopg://ann:p/{SECRET}@h/db",
        f"https://h/x#token={SECRET}",
        f"AccountName=a;AccountKey={SECRET}",
        f"ann:{SECRET}@h/x",
    ],
)
def test_settings_refuse_every_kind_of_secret_and_do_not_repeat_it(tmp_path, value):
    (tmp_path / "settings.ini").write_text(
        f"[mlnb]\nremote = {value}\n[source.a]\nurl = {value}\n[source.b]\nsql = SELECT 1\n"
        f"connection = {value}\n",
        encoding="utf-8",
    )
    with pytest.raises(UsageError) as caught:
        read_project(tmp_path)
    found = [(p.rule, p.mend) for p in caught.value.problems if p.rule == "secret"]
    assert found == [
        ("secret", f"write `{key} = env:NAME` and set that variable")
        for key in ("remote", "url", "connection")
    ]
    assert SECRET not in str([asdict(p) for p in caught.value.problems])


def test_settings_with_a_url_as_path_say_where_its_secret_belongs(tmp_path):
    (tmp_path / "settings.ini").write_text(
        f"[mlnb]\n[source.a]\npath = s3://AKIA:{SECRET}@b/x\n[source.b]\npath = data/day-?key=1/*.csv\n"
    )
    with pytest.raises(UsageError) as caught:
        read_project(tmp_path)
    assert [(p.rule, p.mend) for p in caught.value.problems] == [
        ("secret", "write `url = env:NAME` and set that variable")
    ] and SECRET not in str(caught.value)


def test_settings_that_cannot_be_read_do_not_repeat_a_secret(tmp_path):
    (tmp_path / "settings.ini").write_text(f"remote = s3://AKIA:{SECRET}@b/x\n[mlnb]\n")
    with pytest.raises(UsageError, match="cannot be read") as caught:
        read_project(tmp_path)
    assert SECRET not in str(caught.value)


def test_settings_take_a_host_of_ipv6_and_refuse_a_chain(tmp_path):
    (tmp_path / "settings.ini").write_text("[mlnb]\n[source.a]\nurl = http://[2001:db8::1]:8080/a.csv\n")
    assert read_project(tmp_path).sources["a"]["url"].endswith("8080/a.csv")
    (tmp_path / "settings.ini").write_text("[mlnb]\n[source.a]\nurl = simplecache::s3://lake/a.csv\n")
    with pytest.raises(UsageError, match="chained URL"):
        read_project(tmp_path)


def test_place_of_a_source_tells_users_and_tables_apart():
    assert (
        place_of({"url": "sftp://ann@h/x"}) != place_of({"url": "sftp://bob@h/x"})
        and place_of({"url": "env:LAKE"}) == "env:LAKE"
    )
    assert (
        place_of({"url": "https://h/x.csv?table=a"}) != place_of({"url": "https://h/x.csv?table=b"})
        and place_of({"url": "s3://lake/day=?/*.csv"}) == "s3://lake/day=?/*.csv"
    )


def test_hints_and_partitions_of_a_url_hold_no_secret(tmp_path):
    store = open_store(tmp_path / "store")
    where = f"lake-{random.randrange(10**9)}:{SECRET}@host/a.csv"
    memory = open_remote("memory://").fs
    memory.pipe(memory._strip_protocol(f"memory://{where}"), b"n\n1\n")
    real = memory.info
    memory.info = lambda path, **more: real(path, **more) | {"ETag": '"a1"'}
    try:
        pinned = pin_url(store, f"memory://{where}", "raw")
        memory.get_file = None  # a second look needs no second copy
        assert pin_url(store, f"memory://{where}", "raw") == pinned
        del memory.get_file
        renewed = where.replace(SECRET, OTHER)
        memory.mv(memory._strip_protocol(f"memory://{where}"), memory._strip_protocol(f"memory://{renewed}"))
        assert pin_url(store, f"memory://{renewed}", "raw") == pinned
    finally:
        del memory.info
        vars(memory).pop("get_file", None)
    assert SECRET.encode() not in b"".join(
        p.read_bytes() for p in store.root.rglob("*") if p.is_file()
    ) and SECRET not in str([*pinned, *store.root.rglob("*")])


class SameMark:
    "A web server that gives every address one mark and one size."

    def info(self, path):
        return {"ETag": '"1"', "size": 2}

    def get_file(self, path, file):
        Path(file).write_text(re.search("st=(..)", path)[1])

    def invalidate_cache(self):
        pass


def test_hint_of_one_url_says_nothing_of_another(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "mlnb.sources.url.remote_files", lambda url, name: (SameMark(), {url: shown_url(url)})
    )
    store = open_store(tmp_path / "store")
    for state in ("NY", "CA", "NY"):
        assert [
            one.digest for one in pin_url(store, f"https://h/x?st={state}&token={SECRET}&code={OTHER}", "raw")
        ] == [sha256(state.encode())]
    kept = (store.root / "cache" / "url-digests.json").read_text()
    assert SECRET not in kept and OTHER not in kept


def test_command_line_repeats_no_secret(tmp_path, monkeypatch, capsys):
    import mlnb.cli

    url = f"s3://AKIA:{SECRET}@b/x"
    (tmp_path / "settings.ini").write_text("[mlnb]\n")
    monkeypatch.chdir(tmp_path)
    for arguments in (
        ["push", "memory://team/x", url],
        ["verify", url],
        ["get", url],
        ["erase", url, "--reason", "x"],
        ["show", url],
        ["run", url],
    ):
        assert run_command([*arguments, "--json"]) == 2

    def fault(arguments):
        raise RuntimeError(f"something with {url}")

    monkeypatch.setattr(mlnb.cli, "invoke", fault)
    assert run_command(["runs", "--json"]) == 70
    problem = Problem("name", f"{url} is no name", f"rename {url}")
    monkeypatch.setattr(
        mlnb.cli, "invoke", lambda arguments: (_ for _ in ()).throw(DefinitionError([problem]))
    )
    assert run_command(["check", "--json"]) == run_command(["run", url, "--json"]) == 2
    out, err = capsys.readouterr()
    assert (
        "there is no pipeline `s3://b/x`" in out
        and "RuntimeError: something with s3://b/x" in err
        and SECRET not in out + err
    )
