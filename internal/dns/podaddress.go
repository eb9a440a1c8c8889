// SPDX-License-Identifier: Apache-2.0

package dns

import "net/netip"

// podAddress reads the label of a pod record: an address with dashes in place of dots or colons. Three single dashes
// make an IPv4 address.
func podAddress(label []byte) (netip.Addr, bool) {
	if a, ok := dashed4(label); ok {
		return netip.AddrFrom4(a), true
	}
	return dashed6(label)
}

func dashed4(label []byte) (a [4]byte, ok bool) {
	part, digits, value := 0, 0, 0
	for _, c := range label {
		switch {
		case c == '-' && digits > 0 && part < 3:
			a[part], part, digits, value = byte(value), part+1, 0, 0
		case c >= '0' && c <= '9' && (digits == 0 || value > 0): // no leading zero
			value, digits = value*10+int(c-'0'), digits+1
			if value > 255 {
				return a, false
			}
		default:
			return a, false
		}
	}
	a[3] = byte(value)
	return a, part == 3 && digits > 0
}

// dashed6 reads groups of hexadecimal digits between dashes, two dashes together standing for missing zeros.
func dashed6(label []byte) (netip.Addr, bool) {
	var text [63]byte
	if len(label) > len(text) {
		return netip.Addr{}, false
	}
	for i, c := range label {
		switch {
		case c == '-':
			c = ':'
		case (c < '0' || c > '9') && (c < 'a' || c > 'f'):
			return netip.Addr{}, false
		}
		text[i] = c
	}
	a, err := netip.ParseAddr(string(text[:len(label)]))
	return a.Unmap(), err == nil
}
