# SPDX-License-Identifier: Apache-2.0
#
# A resolver as a stub on a machine is: it listens on 127.0.0.53 and knows one name.
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.53", 53))
while True:
    q, client = s.recvfrom(512)
    end = q.index(b"\0", 12)
    known = q[12:end].lower() == b"\x04host\x06beyond\x04test" and q[end + 1:end + 3] == b"\0\1"
    answer = q[:2] + (b"\x81\x80" if known else b"\x81\x83") + b"\0\1" + (b"\0\1" if known else b"\0\0") + b"\0\0\0\0" + q[12:end + 5]
    if known:
        answer += b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton("198.51.100.2")
    s.sendto(answer, client)
