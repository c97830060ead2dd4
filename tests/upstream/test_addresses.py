import pytest

from refresher.upstream.addresses import AddressRule, ForbiddenAddress

ALWAYS_FORBIDDEN = [
    "169.254.169.254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "fe80::1",
    "fe80::1%eth0",
    "224.0.0.1",
    "ff02::1",
    "0.0.0.0",  # noqa: S104  an address to refuse, not one to bind
    "::",
    "::ffff:0.0.0.0",
]
NOT_PUBLIC = [
    "127.0.0.1",
    "127.8.9.10",
    "::1",
    "::ffff:127.0.0.1",
    "::127.0.0.1",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "fd00::1",
    "fec0::1",
    "64:ff9b::a00:1",
    "2002:7f00:1::",
    "240.0.0.1",
]
PUBLIC = ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34"]


def refused(rule: AddressRule, address: str) -> str:
    with pytest.raises(ForbiddenAddress) as caught:
        rule.check(address)
    assert rule.refused is caught.value
    return str(caught.value)


@pytest.mark.parametrize("address", ALWAYS_FORBIDDEN)
@pytest.mark.parametrize("host", ["api.example", "127.0.0.1", "93.184.216.34", "fe80::2"])
def test_some_addresses_are_out_of_reach_from_everywhere(host: str, address: str) -> None:
    assert address in refused(AddressRule(host), address)


@pytest.mark.parametrize("address", ALWAYS_FORBIDDEN)
def test_an_address_that_the_configured_url_names_is_in_reach(address: str) -> None:
    rule = AddressRule(address)
    rule.check(address)
    rule.connected(address)
    rule.redirected()
    rule.check(address)


def test_naming_one_address_names_no_other() -> None:
    refused(AddressRule("169.254.169.254"), "169.254.169.253")


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_the_configured_name_may_stand_for_a_private_address(address: str) -> None:
    rule = AddressRule("intranet")
    rule.connected(address)
    rule.redirected()
    for other in NOT_PUBLIC + PUBLIC:
        rule.check(other)


@pytest.mark.parametrize("address", NOT_PUBLIC)
@pytest.mark.parametrize("start", PUBLIC)
def test_from_a_public_start_nothing_private_is_in_reach(start: str, address: str) -> None:
    rule = AddressRule("api.example")
    rule.connected(start)
    refused(rule, address)
    rule.redirected()
    refused(rule, address)
    refused(AddressRule(start), address)
    for other in PUBLIC:
        rule.check(other)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_a_start_of_unknown_address_counts_as_public(address: str) -> None:
    rule = AddressRule("api.example")
    rule.redirected()
    refused(rule, address)


def test_the_start_stays_public_though_a_redirect_leads_to_a_name_of_its_own() -> None:
    rule = AddressRule("api.example")
    rule.connected("93.184.216.34")
    rule.redirected()
    rule.connected("93.184.216.35")
    refused(rule, "10.0.0.1")


def test_a_host_that_is_a_name_is_judged_when_it_is_resolved() -> None:
    AddressRule("93.184.216.34").check_host("localhost")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fe80::1%25eth0"])
def test_a_host_that_is_an_address_is_judged_at_once(host: str) -> None:
    with pytest.raises(ForbiddenAddress):
        AddressRule("93.184.216.34").check_host(host)
