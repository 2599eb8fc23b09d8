// Addresses of clients, as the console itself counts them: IPv4, or the /64 network of IPv6.

const LONGEST = 100;

/** Return what counts as one client, or undefined if the text is no address. A port and brackets are taken off. */
export function clientOf(text: string | undefined): string | undefined {
  if (!text || text.length > LONGEST) return undefined;
  let address = text.trim();
  if (address.startsWith("[")) address = address.slice(1).split("]")[0] ?? "";
  else if (address.split(":").length === 2) address = address.split(":")[0] ?? "";
  address = address.split("%")[0] ?? "";
  if (ipv4(address)) return address;
  const groups = ipv6(address);
  return groups && (embedded(groups) ?? network(groups));
}

function ipv4(text: string): number[] | undefined {
  const parts = text.split(".");
  if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256)) {
    return undefined;
  }
  return parts.map(Number);
}

function ipv6(text: string): number[] | undefined {
  const halves = text.split("::");
  if (halves.length > 2 || !text.includes(":")) return undefined;
  const [left, right] = halves.map((half) => (half === "" ? [] : groupsOf(half)));
  if (!left || (halves.length === 2 && !right)) return undefined;
  if (!right) return left.length === 8 ? left : undefined;
  const missing = 8 - left.length - right.length;
  return missing < 1 ? undefined : [...left, ...Array<number>(missing).fill(0), ...right];
}

function groupsOf(text: string): number[] | undefined {
  const groups: number[] = [];
  const parts = text.split(":");
  for (const [place, part] of parts.entries()) {
    const bytes = place === parts.length - 1 ? ipv4(part) : undefined;
    if (bytes) {
      const [a = 0, b = 0, c = 0, d = 0] = bytes;
      groups.push(a * 256 + b, c * 256 + d);
    } else if (/^[0-9a-f]{1,4}$/i.test(part)) {
      groups.push(parseInt(part, 16));
    } else {
      return undefined;
    }
  }
  return groups;
}

/** Return the IPv4 address in a mapped one (::ffff:0:0/96) or one of NAT64 (64:ff9b::/96). */
function embedded(groups: number[]): string | undefined {
  const prefix = groups.slice(0, 6).map((group) => group.toString(16)).join(":");
  if (prefix !== "0:0:0:0:0:ffff" && prefix !== "64:ff9b:0:0:0:0") return undefined;
  return groups.slice(6).flatMap((group) => [group >> 8, group & 255]).join(".");
}

function network(groups: number[]): string {
  const kept = groups.slice(0, 4);
  while (kept.at(-1) === 0) kept.pop();
  return `${kept.map((group) => group.toString(16)).join(":")}::/64`;
}
