@echo off
rem Copies what kbtriage can use of this computer into one folder. Runs as it is on Windows Vista and
rem Windows Server 2008: no PowerShell, nothing to install. Changes nothing. Start it as an administrator:
rem
rem   collect.cmd D:\            puts it into D:\kbtriage-NAME
rem   collect.cmd D:\ full       copies MEMORY.DMP as well (as large as the memory)
rem
rem Then, anywhere: kbtriage triage D:\kbtriage-NAME
setlocal
set "TO=%~1"
if "%TO%"=="" set "TO=%CD%"
set "OUT=%TO%\kbtriage-%COMPUTERNAME%"
mkdir "%OUT%\dumps" 2>nul
if not exist "%OUT%\dumps" echo Cannot make %OUT%& exit /b 1

rem The time with its distance from UTC in minutes: 20091222014700.000000+060
set "NOW="
for /f "tokens=2 delims==" %%A in ('wmic os get LocalDateTime /value 2^>nul') do for /f "delims=" %%B in ("%%A") do set "NOW=%%B"
set "WHEN="
if not "%NOW%"=="" call :when

rem The redirection stands first: a digit before it would be taken for a handle.
>"%OUT%\kbtriage-collection.txt" echo kbtriage collection 1
>>"%OUT%\kbtriage-collection.txt" echo machine=%COMPUTERNAME%
>>"%OUT%\kbtriage-collection.txt" echo as_of=%WHEN%

>"%OUT%\versions.csv" echo machine,file,version,as_of
for %%F in (tcpip.sys netio.sys fwpkclnt.sys ndis.sys tdx.sys afd.sys) do call :version drivers\\%%F %%F
for %%F in (bfe.dll fwpuclnt.dll ikeext.dll ntoskrnl.exe) do call :version %%F %%F

netsh interface ipv4 show global > "%OUT%\netsh-ipv4.txt" 2>&1
netsh interface ipv6 show global > "%OUT%\netsh-ipv6.txt" 2>&1
netsh routing ip igmp show interface > "%OUT%\netsh-igmp.txt" 2>&1
reg save HKLM\SYSTEM "%OUT%\SYSTEM.hiv" /y >nul 2>&1
if not exist "%OUT%\SYSTEM.hiv" echo The registry was not saved: start this as an administrator.

copy /y "%SystemRoot%\Minidump\*.dmp" "%OUT%\dumps\" >nul 2>&1
if /i "%~2"=="full" copy /y "%SystemRoot%\MEMORY.DMP" "%OUT%\dumps\" >nul 2>&1
echo Done: %OUT%
exit /b 0

:version
for /f "tokens=2 delims==" %%A in ('wmic datafile where "name='%SystemRoot:\=\\%\\System32\\%~1'" get Version /value 2^>nul') do for /f "delims=" %%B in ("%%A") do >>"%OUT%\versions.csv" echo %COMPUTERNAME%,%~2,%%B,%WHEN%
exit /b 0

:when
set "SIGN=%NOW:~21,1%"
set /a MINUTES=1%NOW:~22,3%-1000
set /a HOURS=MINUTES/60+100
set /a REST=MINUTES%%60+100
set "WHEN=%NOW:~0,4%-%NOW:~4,2%-%NOW:~6,2%T%NOW:~8,2%:%NOW:~10,2%:%NOW:~12,2%%SIGN%%HOURS:~1%:%REST:~1%"
exit /b 0
