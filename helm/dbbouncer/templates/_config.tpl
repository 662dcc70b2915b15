{{/*
Settles `config`: what of it goes into the ConfigMap, and where each secret comes from.

    include "dbbouncer.settle" (dict "root" $ "into" $settled)

prints nothing, and puts into `into`
  config    the config, with references in the places of secrets
  own       the secrets that values hold: key in the chart's Secret -> text
  taken     all secrets that are in some Secret: {at, secret, key, variable}
  apiIsOpen whether the API is served outside the pod
*/}}
{{- define "dbbouncer.settle" -}}
{{- $root := .root -}}
{{- $into := .into -}}
{{- $config := deepCopy $root.Values.config -}}
{{- $_ := set $into "config" $config -}}
{{- $_ := set $into "own" dict -}}
{{- $_ := set $into "taken" list -}}
{{- include "dbbouncer.settlePorts" $config -}}
{{- if not (hasKey $config "shutdown_grace") -}}
{{- $_ := set $config "shutdown_grace" "30s" -}}
{{- end -}}
{{- include "dbbouncer.settleSecret" (dict "root" $root "into" $into "in" $config "key" "api_key" "at" "api_key" "expected" true) -}}
{{- with $config.defaults -}}
{{- include "dbbouncer.settleSecret" (dict "root" $root "into" $into "in" . "key" "auth_password" "at" "defaults.auth_password" "expected" false) -}}
{{- end -}}
{{- range $name, $tenant := $config.tenants -}}
{{- $at := printf "tenants.%s" $name -}}
{{- include "dbbouncer.settleSecret" (dict "root" $root "into" $into "in" $tenant "key" "auth_password" "at" (printf "%s.auth_password" $at) "expected" false) -}}
{{- include "dbbouncer.settleSecret" (dict "root" $root "into" $into "in" $tenant "key" "password" "at" (printf "%s.password" $at) "expected" (not (hasKey $tenant "users"))) -}}
{{- range $user, $proof := $tenant.users -}}
{{/* A user may have a name that no key of a Secret can have. */}}
{{- $key := regexMatch "^[-._a-zA-Z0-9]+$" $user | ternary $user (sha256sum $user | trunc 16) -}}
{{- range $kind := list "password" "verifier" -}}
{{- include "dbbouncer.settleSecret" (dict "root" $root "into" $into "in" $proof "key" $kind "at" (printf "%s.users.%s.%s" $at $key $kind) "expected" false) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- include "dbbouncer.settleTls" (dict "root" $root "config" $config) -}}
{{- include "dbbouncer.settleConnections" (dict "root" $root "config" $config) -}}
{{- $host := get $config.listen "api_host" | default (hasKey $config "api_key" | ternary "0.0.0.0" "127.0.0.1") -}}
{{- $isLoopback := or (hasPrefix "127." $host) (eq "::1" $host) -}}
{{- $_ := set $into "apiIsOpen" (and (not $isLoopback) (ne 0 (int $config.listen.api_port))) -}}
{{- end -}}

{{/* Ports that were not said, or taken out by null, are the program's own; metrics need a port for the probes. */}}
{{- define "dbbouncer.settlePorts" -}}
{{- if not (hasKey . "listen") -}}
{{- $_ := set . "listen" dict -}}
{{- end -}}
{{- $listen := .listen -}}
{{- range $key, $port := dict "postgres_port" 6432 "mysql_port" 3307 "api_port" 8080 "metrics_port" 0 -}}
{{- if not (hasKey $listen $key) -}}
{{- $_ := set $listen $key $port -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Puts a reference in the place of the secret in `in` that `key` names; `at` is what it is called in a Secret. */}}
{{- define "dbbouncer.settleSecret" -}}
{{- $values := .root.Values.secrets -}}
{{- $value := get .in .key -}}
{{- $isSaid := and (hasKey .in .key) (not (kindIs "invalid" $value)) -}}
{{- $source := dict -}}
{{- if kindIs "map" $value -}}
{{- $name := default $values.existingSecret $value.secret -}}
{{- if not $name -}}
{{- fail (printf "config.%s: say in which Secret its key is: {secret: NAME, key: KEY}" .at) -}}
{{- end -}}
{{- $source = dict "secret" $name "key" (default .at $value.key) -}}
{{- else if and (not $isSaid) .expected $values.existingSecret -}}
{{- $source = dict "secret" $values.existingSecret "key" .at -}}
{{- else if not $value -}}
{{- $_ := unset .in .key -}}
{{- else if not (or (contains "${" $value) (hasPrefix "file:" $value)) -}}
{{- $_ := set .into.own .at (replace "$$" "$" $value) -}}
{{- $source = dict "secret" (include "dbbouncer.fullname" .root) "key" .at -}}
{{- end -}}
{{- if $source -}}
{{- $variable := printf "DBBOUNCER_%s" (regexReplaceAll "[^A-Za-z0-9]" .at "_" | upper) -}}
{{- range .into.taken -}}
{{- if and (eq $values.as "env") (eq .variable $variable) -}}
{{- fail (printf "secrets.as: %s and another secret would both be the variable %s: use files" .at $variable) -}}
{{- end -}}
{{- end -}}
{{- $_ := set .into "taken" (append .into.taken (merge $source (dict "at" .at "variable" $variable))) -}}
{{- $_ := set .in .key (eq $values.as "env" | ternary (printf "${%s}" $variable) (printf "file:%s" .at)) -}}
{{- end -}}
{{- end -}}

{{- define "dbbouncer.settleTls" -}}
{{- $tls := .root.Values.tls -}}
{{- if $tls.enabled -}}
{{- if not (or $tls.existingSecret $tls.certManager.enabled) -}}
{{- fail "tls.enabled: say where the certificate comes from: tls.existingSecret or tls.certManager.enabled" -}}
{{- end -}}
{{- $_ := set .config "tls_cert" "/etc/dbbouncer-tls/tls.crt" -}}
{{- $_ := set .config "tls_key" "/etc/dbbouncer-tls/tls.key" -}}
{{- $_ := set .config "tls_mode" $tls.mode -}}
{{- if $tls.clientCa -}}
{{- $_ := set .config "tls_client_ca" "/etc/dbbouncer-tls/ca.crt" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "dbbouncer.tlsSecret" -}}
{{- default (printf "%s-tls" (include "dbbouncer.fullname" .)) .Values.tls.existingSecret -}}
{{- end -}}

{{/* Each replica's part of the connections that are meant in total. */}}
{{- define "dbbouncer.settleConnections" -}}
{{- if eq .root.Values.connectionsScope "total" -}}
{{- $replicas := include "dbbouncer.replicas" .root | int | max 1 -}}
{{- if not .config.defaults -}}
{{- $_ := set .config "defaults" dict -}}
{{- end -}}
{{- $defaults := .config.defaults -}}
{{- range $key, $builtIn := dict "max_connections" 20 "min_connections" 2 -}}
{{- if not (hasKey $defaults $key) -}}
{{- $_ := set $defaults $key $builtIn -}}
{{- end -}}
{{- end -}}
{{- range $limits := prepend (values (.config.tenants | default dict)) $defaults -}}
{{- if hasKey $limits "max_connections" -}}
{{- $_ := set $limits "max_connections" (div (int $limits.max_connections) $replicas | max 1) -}}
{{- end -}}
{{- if hasKey $limits "min_connections" -}}
{{- $_ := set $limits "min_connections" (div (int $limits.min_connections) $replicas) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Changes when something has changed that DBBouncer reads at its start only. */}}
{{- define "dbbouncer.restartChecksum" -}}
{{- $read := omit .config "tenants" "defaults" -}}
{{- $secrets := .root.Values.secrets -}}
{{- $own := eq $secrets.as "env" | ternary .own (pick .own "api_key") -}}
{{- list $read $own $secrets.as | toJson | sha256sum -}}
{{- end -}}
