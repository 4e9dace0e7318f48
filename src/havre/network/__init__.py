"""Networks: bridges, addresses, published ports, the firewall table, and the files a container resolves names with.

In: network names, container ids, port requests. Out: `spec.Endpoint` values whose VethPlan the monitor applies.
Never: an iptables call, a helper program, a change to somebody else's chain, table or policy; a veth deleted while a start waits.
"""
