{{- define "tradewind.mlflowName" -}}
{{- printf "%s-mlflow" (include "tradewind.name" .) -}}
{{- end -}}

{{- define "tradewind.trackingUri" -}}
{{- if .Values.settings.tracking_uri -}}
{{- .Values.settings.tracking_uri -}}
{{- else if .Values.mlflow.enabled -}}
{{- printf "http://%s.%s.svc:%v" (include "tradewind.mlflowName" .) .Release.Namespace .Values.mlflow.service.port -}}
{{- end -}}
{{- end -}}

{{/* What MLflow keeps on a volume: its database, its artifacts, or nothing. */}}
{{- define "tradewind.mlflowOnVolume" -}}
{{- if or (not .Values.mlflow.database.secret) (not .Values.mlflow.artifacts) -}}true{{- end -}}
{{- end -}}

{{/* What the server's container and the one that upgrades its database have in common. */}}
{{- define "tradewind.mlflowProcess" -}}
{{- $name := include "tradewind.mlflowName" . -}}
{{- $hosts := list -}}
{{- range list $name (printf "%s.%s" $name .Release.Namespace) (printf "%s.%s.svc" $name .Release.Namespace) (printf "%s.%s.svc.cluster.local" $name .Release.Namespace) "localhost" "127.0.0.1" -}}
{{- $hosts = concat $hosts (list . (printf "%s:*" .)) -}}
{{- end -}}
image: {{ include "tradewind.image" (dict "root" $ "image" "train") | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
  - name: HOME
    value: /tmp
  - name: MLFLOW_BACKEND_STORE_URI
    {{- if not .Values.mlflow.database.secret }}
    value: sqlite:////mlflow/mlflow.db
    {{- else }}
    valueFrom:
      secretKeyRef:
        name: {{ .Values.mlflow.database.secret }}
        key: {{ .Values.mlflow.database.key }}
    {{- end }}
  - name: MLFLOW_ARTIFACTS_DESTINATION
    value: {{ .Values.mlflow.artifacts | default "/mlflow/artifacts" | quote }}
  - name: MLFLOW_SERVER_ALLOWED_HOSTS
    value: {{ concat $hosts .Values.mlflow.allowedHosts | join "," | quote }}
  - name: MLFLOW_SERVER_ENABLE_JOB_EXECUTION
    value: "false"
  - name: MLFLOW_DISABLE_TELEMETRY
    value: "true"
{{- with .Values.store.secret }}
envFrom:
  - secretRef:
      name: {{ . }}
{{- end }}
securityContext:
  {{- include "tradewind.containerSecurity" . | nindent 2 }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  {{- if include "tradewind.mlflowOnVolume" . }}
  - name: mlflow
    mountPath: /mlflow
  {{- end }}
{{- end -}}
