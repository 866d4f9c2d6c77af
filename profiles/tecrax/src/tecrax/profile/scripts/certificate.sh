# Prints subject, issuer and end of the certificate that a server shows, and whether it is believed.
# usage: certificate.sh HOST PORT NAME
set -u
shown=$(openssl s_client -connect "$1:$2" -servername "$3" -verify_hostname "$3" </dev/null 2>/dev/null)
printf '%s\n' "$shown" | sed -n 's/^ *Verify return code: /verify=/p' | head -n 1
printf '%s\n' "$shown" | openssl x509 -noout -enddate -issuer -subject -nameopt RFC2253 2>/dev/null
