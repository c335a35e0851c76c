JAVA_OPTS=$(
  set -f
  unset IFS
  path=${CLASSPATH-} options='' take=''
  for word in ${JAVA_OPTS-}; do
    case $take$word in
      (-cp | -classpath | --class-path) take=value= ;;
      (value=* | --class-path=*) path=${word#--class-path=} take= ;;
      (*) options="$options $word" ;;
    esac
  done
  path=${path:+:$path}:
  while :; do
    case $path in
      (*:/resources:*) path=${path%%:/resources:*}:${path#*:/resources:} ;;
      (*) break ;;
    esac
  done
  case $path in
    (*:/service/app.jar:*) ;;
    (*) path=$path/service/app.jar: ;;
  esac
  path=${path%:}
  printf '%s' "-cp /resources$path$options"
)
export JAVA_OPTS
