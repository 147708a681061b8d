"""Where requests may go: URLs and addresses; and the API's client."""

from __future__ import annotations

import httpx
import pytest

from floradl.api import client as api_client
from floradl.errors import Exit, TransferError, UsageError
from floradl.network import addresses
from floradl.network.addresses import check_base_url, check_media_url, is_public_address

pytestmark = pytest.mark.anyio


# --- URLs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://app.flora.ai/api/v1", "https://app.flora.ai/api/v1"),
        ("https://app.flora.ai/api/v1//", "https://app.flora.ai/api/v1"),
        ("https://app.flora.ai", "https://app.flora.ai"),
        ("https://app.flora.ai:8443/", "https://app.flora.ai:8443"),
        ("https://10.0.0.5/api", "https://10.0.0.5/api"),
        ("http://localhost:8000/api/v1", "http://localhost:8000/api/v1"),
        ("http://LOCALHOST:8000", "http://LOCALHOST:8000"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://[::1]:8000/", "http://[::1]:8000"),
    ],
)
def test_base_url(url: str, kept: str) -> None:
    """A base URL is https, or http on this machine, and loses its trailing slash."""
    assert check_base_url(url) == kept


@pytest.mark.parametrize(
    "url",
    [
        "", "app.flora.ai/api/v1", "//app.flora.ai", "https://", "https:///api", "ftp://app.flora.ai",
        "file:///etc/passwd", "https://user@app.flora.ai", "https://user:pw@app.flora.ai", "https://:pw@app.flora.ai",
        "https://app.flora.ai/?a=1", "https://app.flora.ai/?", "https://app.flora.ai/#x", "https://app.flora.ai/#",
        "https://app.flora.ai:x/", "https://app.flora.ai:99999/", "https://[::1/", "https://[v1.a]/",
        "https://app.flora.ai/\n", "https://app.\tflora.ai/", " https://app.flora.ai/", "https://xn--/", "https://a\u2100b/",
    ],
)  # fmt: skip
def test_base_url_that_is_none(url: str) -> None:
    """What is no plain http(s) URL is a usage error that shows how one looks."""
    with pytest.raises(UsageError) as caught:
        check_base_url(url)
    assert caught.value.exit_code == Exit.USAGE
    assert "https://app.flora.ai/api/v1" in caught.value.hint
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://app.flora.ai/api/v1",
        "http://10.0.0.5/",
        "http://0.0.0.0/",
        "http://localhost.evil.test/",
        "http://localhost./",
        "http://a.localhost/",
        "http://127.1/",
        "http://2130706433/",
        "http://127.0.0.1./",
    ],
)
def test_key_does_not_cross_a_network_in_clear(url: str) -> None:
    """Over http the key goes to this machine only."""
    with pytest.raises(UsageError, match="in clear") as caught:
        check_base_url(url)
    assert "https://" in caught.value.hint


@pytest.mark.parametrize(
    "url",
    [
        "https://media.flora.ai/a.png",
        "HTTPS://Media.Flora.AI/a.png?x=1#y",
        "https://media.flora.ai:8443/a.png",
        "https://8.8.8.8/a.png",
        "https://[2606:4700::1]/a.png",
        "https://media.flora.ai/a@b.png?c@d",
        "https://münchen.test/ä b.png",
        "https://media.flora.ai./a.png",
        "https://bucket_1.s3.amazonaws.com/a.png",
        "https://0x.media.test/a.png",
        "https://localhost.media.test/a.png",
        "https://internal.media.test/a.png",
        "https://127.0.0.1.media.test/a.png",
    ],
)
@pytest.mark.parametrize("allow_loopback", [False, True])
def test_media_url(url: str, allow_loopback: bool) -> None:
    """A public https URL may be fetched."""
    check_media_url(url, allow_loopback=allow_loopback)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:9/a",
        "https://localhost/a",
        "http://127.0.0.1/a",
        "http://127.9.9.9/a",
        "http://[::1]/a",
        "http://127.0.0.1./a",
        "http://LOCALHOST/a",
        "http://localhost./a",
        "http://localhost.../a",
        "http://a.b.localhost/a",
        "http://A.LocalHost./a",
        "http://localhost\u3002/a",
        "http://127\u30020\u30020\u30021/a",
    ],
)
def test_media_url_on_this_machine(url: str) -> None:
    """Loopback and http are allowed only when that is asked for."""
    check_media_url(url, allow_loopback=True)
    with pytest.raises(TransferError):
        check_media_url(url, allow_loopback=False)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "no host"),
        ("junk", "no host"),
        ("https:///a", "no host"),
        ("//media.test/a", "not https"),
        (" https://media.test/a", "no host"),
        ("ftp://media.test/a", "not https"),
        ("file:///etc/passwd", "no host"),
        ("file://media.test/etc/passwd", "not https"),
        ("data:image/png;base64,AAAA", "no host"),
        ("https://user@media.test/a", "credentials"),
        ("https://user:pw@media.test/a", "credentials"),
        ("https://@media.test/a", "credentials"),
        ("https://media.test\\@127.0.0.1/a", "credentials"),
        ("https://[::1/a", "not a URL"),
        ("https://media.test:x/a", "not a URL"),
        ("https://media.test:99999/a", "not a URL"),
        ("https://media.test/a\n", "not a URL"),
        ("https://media.test/\ud800", "not a URL"),
        ("https://xn--/a", "not a URL"),
        ("https://media.test/" + "a" * 70_000, "not a URL"),
        ("https://10.0.0.1/a", "private address"),
        ("https://192.168.1.1/a", "private address"),
        ("https://169.254.169.254/latest", "private address"),
        ("https://100.64.0.1/a", "private address"),
        ("https://0.0.0.0/a", "private address"),
        ("https://[fe80::1]/a", "private address"),
        ("https://[::ffff:10.0.0.1]/a", "private address"),
        ("https://169.254.169.254./latest", "private address"),
        ("https://169\u3002254\uff0e169\uff61254/latest", "private address"),
        ("https://[fe80::1%25eth0]/a", r"private address|not a URL"),
        ("https://127.1/a", "odd form"),
        ("https://127.0.1./a", "odd form"),
        ("https://2130706433/a", "odd form"),
        ("https://0x7f000001/a", "odd form"),
        ("https://0X7F.0.0.0x1/a", "odd form"),
        ("https://017700000001/a", "odd form"),
        ("https://0177.0.0.1/a", "odd form|not a URL"),
        ("https://010.8.8.8/a", "odd form|not a URL"),
        ("https://0/a", "odd form"),
        ("https://0x/a", "odd form"),
        ("https://8.8/a", "odd form"),
        ("https://media.test.1/a", "odd form"),
        ("https://256.256.256.256/a", "odd form|not a URL"),
        ("https://1.2.3.4.5/a", "odd form"),
        ("https://%31%32%37.0.0.%31/a", "odd form"),
        ("https://loc%61lhost/a", "odd form"),
        ("https://metadata.google.internal/a", "private name"),
        ("https://metadata.google.INTERNAL./a", "private name"),
        ("https://printer.local/a", "private name"),
        ("https://router.lan/a", "private name"),
        ("https://nas.home.arpa/a", "private name"),
    ],
)
@pytest.mark.parametrize("allow_loopback", [False, True])
def test_media_url_that_is_never_fetched(url: str, said: str, allow_loopback: bool) -> None:
    """Everything else is refused with its reason, which may be cured by a fresh URL and not by a retry."""
    with pytest.raises(TransferError, match=said) as caught:
        check_media_url(url, allow_loopback=allow_loopback)
    error = caught.value
    assert (error.code, error.is_retryable, error.wants_fresh_url) == ("unsafe_url", False, True)
    assert "pw" not in error.message


def test_wrapped_loopback() -> None:
    """This machine in an IPv6 wrapping is not mistaken for a public address."""
    with pytest.raises(TransferError, match=r"private address|this machine"):
        check_media_url("https://[::ffff:127.0.0.1]/a", allow_loopback=False)


def test_http_needs_a_local_api() -> None:
    """Media over http come only with an API that is on this machine."""
    check_media_url("http://media.test/a", allow_loopback=True)
    with pytest.raises(TransferError, match="not https"):
        check_media_url("http://media.test/a", allow_loopback=False)


# --- addresses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8", "1.1.1.1", "172.32.0.1", "192.169.0.1", "100.128.0.1", "11.0.0.0",
        "2606:4700::1", "2a00:1450:4001::1",
        "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1",
        "2001:0:4136:e378:8000:63bf:f7f7:f7f7",
    ],
)  # fmt: skip
def test_public_address(address: str) -> None:
    """An address on the open internet is one, also when it is wrapped."""
    assert is_public_address(address)


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("127.0.0.1", id="loopback"),
        pytest.param("127.255.255.254", id="loopback, its end"),
        pytest.param("0.0.0.0", id="this host"),  # noqa: S104 - nothing is bound to it
        pytest.param("10.0.0.1", id="private 10"),
        pytest.param("172.16.0.1", id="private 172"),
        pytest.param("172.31.255.255", id="private 172, its end"),
        pytest.param("192.168.0.1", id="private 192"),
        pytest.param("169.254.169.254", id="link-local: a cloud's metadata"),
        pytest.param("100.64.0.1", id="carrier-grade NAT"),
        pytest.param("100.100.100.200", id="carrier-grade NAT: another cloud's metadata"),
        pytest.param("198.18.0.1", id="benchmarks"),
        pytest.param("192.0.2.1", id="documentation"),
        pytest.param("224.0.0.1", id="multicast"),
        pytest.param("239.255.255.250", id="multicast, local"),
        pytest.param("240.0.0.1", id="reserved"),
        pytest.param("255.255.255.255", id="broadcast"),
        pytest.param("::", id="this host, 6"),
        pytest.param("::1", id="loopback 6"),
        pytest.param("fe80::1", id="link-local 6"),
        pytest.param("fe80::1%eth0", id="link-local 6, with its scope"),
        pytest.param("fec0::1", id="site-local"),
        pytest.param("fc00::1", id="unique local"),
        pytest.param("fd00:ec2::254", id="unique local: a cloud's metadata"),
        pytest.param("ff02::1", id="multicast 6"),
        pytest.param("ff0e::1", id="multicast 6, global"),
        pytest.param("2001:db8::1", id="documentation 6"),
        pytest.param("100::1", id="discarded"),
        pytest.param("::ffff:127.0.0.1", id="mapped loopback"),
        pytest.param("::ffff:10.0.0.1", id="mapped private"),
        pytest.param("::ffff:a9fe:a9fe", id="mapped link-local"),
        pytest.param("::127.0.0.1", id="IPv4-compatible loopback"),
        pytest.param("2002:7f00:1::1", id="6to4 of loopback"),
        pytest.param("2002:c0a8:101::1", id="6to4 of private"),
        pytest.param("2001:0:4136:e378:8000:63bf:80ff:fffe", id="Teredo of loopback"),
        pytest.param("2001:0:4136:e378:8000:63bf:f5ff:fffe", id="Teredo of private"),
        pytest.param("64:ff9b::7f00:1", id="NAT64 of loopback"),
        pytest.param("64:ff9b::a00:1", id="NAT64 of private"),
        pytest.param("64:ff9b::a9fe:a9fe", id="NAT64 of link-local"),
        pytest.param("64:ff9b:1::808:808", id="NAT64 of a local network"),
    ],
)
def test_address_that_is_not_public(address: str) -> None:
    """No private, local, shared or special address passes, in whatever wrapping."""
    assert not is_public_address(address)


# --- the API's client ---------------------------------------------------------------------------------


@pytest.fixture
def asked() -> list[httpx.Request]:
    """What the clients below asked."""
    return []


@pytest.fixture
def transport(asked: list[httpx.Request]) -> httpx.MockTransport:
    """A host that redirects everything elsewhere."""

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(302, headers={"Location": "https://elsewhere.test/"})

    return httpx.MockTransport(answer)


async def test_api_client(transport: httpx.MockTransport, asked: list[httpx.Request]) -> None:
    """The API's client sends the key, and follows no redirect with it."""
    async with api_client.api_client(
        "https://api.test/v1", "sk_1", timeout_s=7, transport=transport
    ) as client:
        assert (await client.get("runs")).status_code == 302
    assert [str(request.url) for request in asked] == ["https://api.test/v1/runs"]
    assert asked[0].headers["authorization"] == "Bearer sk_1"


@pytest.mark.parametrize("url", ["ftp://x:1", "socks5://x:1"])
def test_a_proxy_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """A proxy of another kind, or no URL at all, is told before anything is fetched."""
    monkeypatch.setenv("HTTPS_PROXY", url)
    with pytest.raises(UsageError, match="proxy of the environment"):
        addresses.environment_proxies()
    with pytest.raises(UsageError, match="proxy of the environment"):
        api_client.api_client("https://api.invalid", "sk", timeout_s=5)
