{{/* Names. A release called tradewind gives tradewind-mlflow, another one NAME-tradewind-mlflow. */}}
{{- define "tradewind.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 48 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 48 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "tradewind.airflowNamespace" -}}
{{- .Values.airflow.namespace | default .Release.Namespace -}}
{{- end -}}

{{- define "tradewind.settingsName" -}}
{{- printf "%s-settings" (include "tradewind.name" .) -}}
{{- end -}}

{{/* (dict "root" $ "component" "mlflow") */}}
{{- define "tradewind.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "tradewind.labels" -}}
{{ include "tradewind.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* (dict "root" $ "image" "train"): the reference as the operators make it */}}
{{- define "tradewind.image" -}}
{{- .root.Values.image.pattern | replace "{image}" .image | replace "{version}" .root.Chart.AppVersion -}}
{{- end -}}

{{- define "tradewind.pullSecrets" -}}
{{- with .Values.image.pullSecrets -}}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "tradewind.podSecurity" -}}
runAsNonRoot: true
runAsUser: 50000
runAsGroup: 50000
fsGroup: 50000
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "tradewind.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Of profiles what a schema cannot say. Airflow refuses them too, and with them every Dag. */}}
{{- define "tradewind.checkProfiles" -}}
{{- range $name, $profile := . -}}
{{- range $attributes := list (list "cpu_limit" "cpu") (list "memory_limit_mb" "memory_mb") (list "memory_cap_mb" "memory_limit_mb" "memory_mb") (list "executor_cpu_limit" "executor_cpu" "cpu") (list "executors" "min_executors") -}}
{{- $value := get $profile (first $attributes) | default 0 | float64 -}}
{{- $least := "" -}}
{{- range rest $attributes -}}
{{- if and (not $least) (hasKey $profile .) -}}{{- $least = . -}}{{- end -}}
{{- end -}}
{{- if and $least (or $value (eq $least "min_executors")) (lt $value (get $profile $least | float64)) -}}
{{- fail (printf "profiles.%s.%s: expected %s (%s) or more, got %s" $name (first $attributes) $least (get $profile $least | toJson) (toJson $value)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
