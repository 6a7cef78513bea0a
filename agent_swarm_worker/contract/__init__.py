"""The public interface of a provider: types only, without behaviour.

A provider in another distribution builds on this package. It is versioned with the distribution,
and a test pins its names: those imported ``as`` themselves.
"""

from agent_swarm_worker.contract.events import Compaction as Compaction
from agent_swarm_worker.contract.events import ContextUsage as ContextUsage
from agent_swarm_worker.contract.events import CostData as CostData
from agent_swarm_worker.contract.events import Custom as Custom
from agent_swarm_worker.contract.events import Error as Error
from agent_swarm_worker.contract.events import EventListener as EventListener
from agent_swarm_worker.contract.events import Helper as Helper
from agent_swarm_worker.contract.events import Message as Message
from agent_swarm_worker.contract.events import ModelCost as ModelCost
from agent_swarm_worker.contract.events import Progress as Progress
from agent_swarm_worker.contract.events import ProviderEvent as ProviderEvent
from agent_swarm_worker.contract.events import RawLog as RawLog
from agent_swarm_worker.contract.events import RawStderr as RawStderr
from agent_swarm_worker.contract.events import Result as Result
from agent_swarm_worker.contract.events import SessionInit as SessionInit
from agent_swarm_worker.contract.events import ToolEnd as ToolEnd
from agent_swarm_worker.contract.events import ToolStart as ToolStart
from agent_swarm_worker.contract.guest import DEFAULT_GRACE as DEFAULT_GRACE
from agent_swarm_worker.contract.guest import NO_GRACE as NO_GRACE
from agent_swarm_worker.contract.guest import AppendFile as AppendFile
from agent_swarm_worker.contract.guest import Command as Command
from agent_swarm_worker.contract.guest import Completed as Completed
from agent_swarm_worker.contract.guest import EndReport as EndReport
from agent_swarm_worker.contract.guest import FileInfo as FileInfo
from agent_swarm_worker.contract.guest import Grace as Grace
from agent_swarm_worker.contract.guest import Guest as Guest
from agent_swarm_worker.contract.guest import GuestCapabilities as GuestCapabilities
from agent_swarm_worker.contract.guest import GuestFiles as GuestFiles
from agent_swarm_worker.contract.guest import Listing as Listing
from agent_swarm_worker.contract.guest import OpenFile as OpenFile
from agent_swarm_worker.contract.guest import Output as Output
from agent_swarm_worker.contract.guest import PrivateFile as PrivateFile
from agent_swarm_worker.contract.guest import Process as Process
from agent_swarm_worker.contract.session import Ending as Ending
from agent_swarm_worker.contract.session import McpServer as McpServer
from agent_swarm_worker.contract.session import ProviderAdapter as ProviderAdapter
from agent_swarm_worker.contract.session import ProviderResult as ProviderResult
from agent_swarm_worker.contract.session import ProviderSession as ProviderSession
from agent_swarm_worker.contract.session import ProviderSessionConfig as ProviderSessionConfig
from agent_swarm_worker.contract.session import RateLimitWindow as RateLimitWindow
from agent_swarm_worker.contract.session import Redactor as Redactor
from agent_swarm_worker.contract.session import ReplayableAdapter as ReplayableAdapter
from agent_swarm_worker.contract.session import SteerableSession as SteerableSession
from agent_swarm_worker.contract.session import SteerDelivery as SteerDelivery
from agent_swarm_worker.contract.session import StreamRedactor as StreamRedactor
from agent_swarm_worker.contract.session import TextTranslator as TextTranslator
from agent_swarm_worker.contract.session import Translator as Translator
from agent_swarm_worker.contract.spec import ActionKind as ActionKind
from agent_swarm_worker.contract.spec import Capabilities as Capabilities
from agent_swarm_worker.contract.spec import Credentials as Credentials
from agent_swarm_worker.contract.spec import CredentialsByModel as CredentialsByModel
from agent_swarm_worker.contract.spec import HangTexts as HangTexts
from agent_swarm_worker.contract.spec import HarnessSpec as HarnessSpec
from agent_swarm_worker.contract.spec import Installation as Installation
from agent_swarm_worker.contract.spec import Models as Models
from agent_swarm_worker.contract.spec import OptionsModel as OptionsModel
from agent_swarm_worker.contract.spec import Program as Program
from agent_swarm_worker.contract.spec import Prompt as Prompt
from agent_swarm_worker.contract.spec import ProviderTraits as ProviderTraits
from agent_swarm_worker.contract.spec import Skills as Skills
from agent_swarm_worker.contract.spec import SteerMode as SteerMode
